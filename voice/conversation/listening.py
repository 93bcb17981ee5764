"""What the other side's words are: a person, a robot of some kind, a backchannel, a yes, a wish to be left alone.

Invariant: every judgement is a function of the words alone. The patterns are tight where a mistake would cost
the caller something (hanging up, never calling again) and loose where the model decides anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import StrEnum

from voice.conversation.heard import letters_of

NEAR_EQUAL_RATIO = 0.9


def _word_set(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Speaker(StrEnum):
    LIVE = "live"  # only a person answers like this: "Hello?"
    UNCLEAR = "unclear"  # a person as a rule, or the middle of a recording
    SCREENER = "screener"  # a robot asks who is calling and why
    SCREENER_WAIT = "screener_wait"  # the robot is passing the answer on
    VOICEMAIL = "voicemail"
    MAILBOX_FULL = "mailbox_full"
    MENU = "menu"  # "press 1 for ..."


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_SPEAKERS: tuple[tuple[Speaker, re.Pattern[str]], ...] = (
    (
        Speaker.MAILBOX_FULL,
        _any(
            r"\b(mail ?box|voice ?mail|buzón)\b.{0,40}\b(full|lleno)\b",
            r"mail ?box (is|has) .{0,20}(not been set up|reached)",
            r"(not|can ?not|can't) accept(ing)? (any )?(new |more )?messages",
        ),
    ),
    (
        Speaker.SCREENER,
        _any(
            r"(record|say|state|tell me) your name\b.{0,60}\b(reason|why|calling)",
            r"(say|state|record) your name (and|after|before)\b(?!.{0,30}number)",
            r"see if (this|the) (person|subscriber|party) is available",
            r"(what|why) (are )?you('re| are)? calling (about|for|today\?)",
            r"(using|is using) a (call )?screening service",
            r"call (screening|assist|assistant)\b.{0,60}(who|name|why|reason)",
            r"before (i|we) (try to )?connect you",
            r"google (voice|assistant|call)\b.{0,80}(name|who|why)",
            r"diga su nombre y (el )?motivo",
        ),
    ),
    (
        Speaker.VOICEMAIL,
        _any(
            r"(after|at|wait for|hear) the (tone|beep)",
            r"leave (me |us )?(a|your) (\w+ )?(voice ?mail|message)\b(?!\s*\?)",
            r"leave (your )?name (and|,)",
            r"(reached|forwarded to) .{0,40}(voice ?mail|voice messag|messaging)",
            r"record your message",
            r"(person|party|subscriber|customer|number) you('re| are| have)? "
            r"(called|calling|dialed|dialled|trying).{0,30}is (not available|unavailable)",
            r"(can't|cannot|can not|unable to|not able to) (come|get) to the phone",
            r"(después|luego) (de la señal|del tono)",
            r"deje (su|un) mensaje",
        ),
    ),
    (
        Speaker.MENU,
        _any(
            r"\b(press|push|dial|enter|select) (\d|one|two|three|four|five|six|seven|eight|nine|zero|star|pound)\b",
            r"\bfor .{2,40}, (press|say)\b",
            r"(our|the) menu (options )?(has|have) changed",
            r"\b(oprima|presione|marque) (el )?(\d|uno|dos|tres)\b",
        ),
    ),
    (
        Speaker.SCREENER_WAIT,
        _any(
            r"(stay|remain) on the line",
            r"(one moment|hold|wait) while (i|we) (try|connect|check|see)",
            r"(connecting|trying to connect) (you|your call)",
            r"\b(thanks|thank you)\b.{0,20}\b(hold|stay|wait|one moment)\b",
        ),
    ),
    (
        Speaker.LIVE,
        _any(
            r"^(hi|hello|hey|yes|yeah|yep|hola|bueno|diga|aló)( there| hello| hi)?\W*$",
            r"^(hello|hi|yes|yeah|hey)?\W*(this is|it's) \w+( \w+)?( speaking)?\W*$",
            r"\b(who is this|who's this|who's calling|who is calling|quién (es|habla))\b",
            r"\b(hello\?|speaking\.?$|can i help you|how can i help|may i help)",
            r"\b(can|may|could|shall|should) i (take|give (him|her|them)) a message\b",
        ),
    ),
)
_PEOPLE_ONLY = _any(  # of somebody else, to us, or of themselves: no recording says these, whatever follows
    r"\b(he|she)\b('s| is)?\W*(can't|cannot|can not|unable to|not able to) (come|get) to the phone",
    r"\b(want|like|wish|care|love) (me |us )?to leave (me |us )?(a|your) (\w+ )?message\b",
    r"\bleave (me |us )?(a|your) (\w+ )?message (with|for) (me|us|him|her|them)\b",
    r"\bi\b[^.?!]{0,20}\b(press|push|dial|enter|select) \w+",
)


def who_speaks(text: str) -> Speaker:
    """What kind of speaker says this at the start of a call we placed."""
    text = _PEOPLE_ONLY.sub("", text)
    return next((kind for kind, pattern in _SPEAKERS if pattern.search(text)), Speaker.UNCLEAR)


_HOLD_ANNOUNCEMENT = _any(
    r"your call is (very )?important",
    r"(please )?(continue to |keep )?(stay|remain|hold) (on the line|holding)",
    r"please (continue to )?hold\b",
    r"(all|our) (of our )?(agents|representatives|operators|lines) (are|is)",
    r"next available (agent|representative|operator)",
    r"you are (number|caller)",
    r"estimated wait",
    r"\[?(hold )?music\]?\W*$",
    r"♪",
    r"su llamada es (muy )?importante",
    r"permanezca en (la )?línea",
)


def is_hold_noise(text: str) -> bool:
    """A queue's announcement or music, not a person who has come back."""
    return not letters_of(text) or bool(_HOLD_ANNOUNCEMENT.search(text))


_BACKCHANNEL = _word_set(
    "mhm mm hm hmm mmm uh huh uhhuh mmhm mmhmm ah oh aha ok okay yeah yep right sure um er i see got it wow "
    "cool nice great good ajá sí vale claro ya"
)
_BARE_HELLO = _word_set("hello hi hey there hola bueno yes aló diga")


def words_of(text: str) -> list[str]:
    """Case-folded words; apostrophes inside a word are dropped, hyphens split."""
    return re.findall(r"\w+", text.casefold().replace("'", "").replace("’", ""))


def is_backchannel(text: str, *, hellos_too: bool = False) -> bool:
    """Only "mm-hm", "okay", "I see": a sign of listening. Under a greeting a bare "hello?" is one as well."""
    allowed = _BACKCHANNEL | _BARE_HELLO if hellos_too else _BACKCHANNEL
    words = words_of(text)
    return bool(words) and len(words) <= 6 and all(word in allowed for word in words)


_YES = _word_set(
    "yes yeah yep yup sure ok okay correct right absolutely definitely exactly perfect affirmative confirmed "
    "confirm alright sí si claro correcto vale dale"
)
_YES_COMPANY = _YES | _word_set(
    "thats that is its it go ahead please do book send sounds good great fine thank thanks you i works for me "
    "lets of course all and the this so mhm uh huh um well oh my with we us be will would like im i'd id as "
    "said that itd thatd can you want do me in thing for very much a lot sir maam "
    "por favor está bien gracias adelante eso es lo y de acuerdo que"
)
_YES_TOGETHER = tuple(
    _word_set(words)
    for words in ("go ahead", "sounds good", "of course", "please do", "works for me", "go for it", "de acuerdo")
)
_NO = _word_set("no not nope dont wait but except instead actually stop unless pero espera")


def says_yes(text: str, known_words: Iterable[str]) -> bool:
    """A clear assent that changes nothing: a yes, and no word that was not already on the table.

    `known_words` are those of the read-back and of the arguments: repeating them changes nothing.
    """
    words = set(words_of(text))
    table = _YES_COMPANY | set(known_words)
    agrees = bool(words & _YES) or any(together <= words for together in _YES_TOGETHER)
    return agrees and not words & _NO and words <= table and not text.rstrip().endswith("?")


_ROBOT_QUESTION = _any(
    r"\b(are|r) (you|u) (\w+ ){0,3}(robot|bot|machine|computer|ai|a\.i\.|human|real|person|recording|automated)\b",
    r"\b(is this|am i (speaking|talking) (to|with)|is that) (\w+ ){0,3}"
    r"(robot|bot|machine|computer|ai|a\.i\.|human|real person|person|recording)\b",
    r"\b(eres|es usted|es esto|hablo con) (\w+ ){0,2}(robot|máquina|persona|ia|humano)\b",
)
# "You never call me back" is said by somebody who would like to be called.
_NOBODY_SAYS = "".join(rf"(?<!\b{who} )" for who in ("i", "you", "we", "they", "guys", "people"))
_NOT_THEN = (
    r"(?! (back )?((at|on)(?! (this|my|our) (number|phone|line)\b)|before|after|until|till|in|during|when|while|unless"
    r"|if|by|between|so|too|this (early|late|week|month)|today|tonight|tomorrow|yet|later|early|late|right now)\b)"
)
_SUCH_A = r"((?!wait|guest|standby|stand-by|cancellation|booking|appointment|delivery|e-?mail)\w+ ){0,2}"
_STOP_CALLING = _any(
    r"\b(stop|quit) (calling|phoning|ringing|contacting)\b",
    rf"{_NOBODY_SAYS}\b(do not|don't|dont|never) (ever )?(call|phone|ring|contact) (me|us|here|this)\b{_NOT_THEN}",
    r"\b(do not|don't|dont|never) (ever )?(call|phone|ring|contact) (me|us|here|this number) (back )?"
    r"(again|anymore|any more)\b",
    r"\b(take|remove|delete) (me|us|my (phone )?(name|number)|this number) (off|from) "
    rf"((of )?(your|the|this|all) )?{_SUCH_A}(list|lists|database|system|records|files)\b",
    r"\b(remove|delete) my (phone )?number\b",
    r"\b(do not|don't|dont|never) (ever )?(call|phone|ring|contact) (back )?again\b"
    r"(?! (before|after|until|at|on|tomorrow|today|later|to))",
    r"\b(stop|end) (all )?(the|these|those|this|your) (\w+ )?calls\b",
    r"\b(cease|no more) (and desist )?(from )?calling\b",
    r"\blose (my|our|this) number\b",
    r"\bleave (me|us) alone\b",
    rf"\b(want|get me|take me) off (of )?(your|the|this) {_SUCH_A}list\b",
    r"\bdo[ -]not[ -]call (list|registry)\b",
    r"\b(opt|opting) (me |us )?out\b(?! of (?!(\w+ )?(calls?|calling|list)\b))",
    r"\bunsubscribe\b",
    r"\bno more (phone |sales )?calls\b",
    r"\b(do not|don't|dont) want (you to (call|phone|ring|contact) (me|us)|(any |these |your )(more )?calls)\b",
    r"\bdarme de baja\b",
    r"\b(deje|dejen|deja) de llamar",
    r"\bno (me |nos )?(vuelva|vuelvan) a llamar",
    r"\bno (me |nos )?llam(e|en|es) (más|nunca|otra vez|de nuevo)\b",
    r"\bno quier(o|emos) (más|que me|que nos) llam",
)
_WRONG_NUMBER = _any(
    r"(?<!if )\b(you have|you've got|you got|you have got|you must have|this is|it's|it is|must be|"
    r"you('ve| have)? (dialed|dialled|called|rung|reached)) (the |a )?wrong number\b(?!\?| (on|in) )",
    r"^\W*(sorry,? |no,? )?wrong number\b[^?]*$",
    r"\bnúmero equivocado\b",
    r"\bequivoc(ó|ado) de número\b(?!\?)",
)
_GOODBYE = _any(r"\b(good ?bye|bye|adiós)\W*$")
_FAREWELL = _word_set(
    "bye goodbye good day night evening have a nice great one thanks thank you so much take care see later "
    "then ok okay alright you too very talk soon adiós hasta luego gracias chao"
)
_FAREWELL_CORE = _word_set("bye goodbye thanks thank care adiós luego gracias chao night day too")


def asks_if_robot(text: str) -> bool:
    return bool(_ROBOT_QUESTION.search(text))


def wants_no_calls(text: str) -> bool:
    return bool(_STOP_CALLING.search(text))


def is_wrong_number(text: str) -> bool:
    return bool(_WRONG_NUMBER.search(text))


def is_farewell(text: str) -> bool:
    """Only "thanks, bye" and its like: no reason to go on talking."""
    words = words_of(text)
    return bool(set(words) & _FAREWELL_CORE) and all(word in _FAREWELL for word in words)


def says_goodbye(text: str) -> bool:
    """Words of ours that end with taking leave."""
    return bool(_GOODBYE.search(text))


def near_equal(first: str, second: str) -> bool:
    """The same sentence, give or take what a transcriber mishears."""
    return SequenceMatcher(None, letters_of(first), letters_of(second)).ratio() >= NEAR_EQUAL_RATIO
