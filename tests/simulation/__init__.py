"""Whole worlds in virtual time: customers, servers, a telephone network and a bank, and everything that can go wrong.

Invariant: a world is a function of its seed alone, so a seed that fails can be replayed.
"""
