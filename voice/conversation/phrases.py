"""The fixed words: what is said without asking the model, and the notes that only the model reads.

Invariant: every language has every phrase. Fixed words cost no latency and work when the model does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from voice.conversation.brief import CallBrief


@dataclass(frozen=True, slots=True)
class Phrases:
    calling_ai: str  # who speaks and for whom
    calling: str  # the same, where the organisation does not announce that an AI speaks
    answering_ai: str
    answering: str
    how_can_i_help: str
    robot_yes: str
    fillers: tuple[str, ...]
    still_there: tuple[str, str]
    silence_goodbye: str
    hold_check: str
    hold_goodbye: str
    apology: str
    failed_goodbye: str
    goodbye: str
    no_more_calls: str
    transfer: str
    transfer_failed: str
    time_is_up: str
    voicemail: str


ENGLISH = Phrases(
    calling_ai="Hello, this is an AI assistant calling on behalf of {organisation}.",
    calling="Hello, I'm calling on behalf of {organisation}.",
    answering_ai="Hello, you've reached {organisation}. This is an AI assistant.",
    answering="Hello, you've reached {organisation}.",
    how_can_i_help="How can I help you?",
    robot_yes="Yes, I'm an AI assistant working for {organisation}.",
    fillers=("One moment.", "Let me see.", "Just a second."),
    still_there=("Are you still there?", "Hello, can you hear me?"),
    silence_goodbye="I can't hear you, so I'll hang up now. Goodbye.",
    hold_check="I'm still here. Take your time.",
    hold_goodbye="I have to go now. Please call back when it suits you. Goodbye.",
    apology="Sorry, I'm having a little trouble. Could you say that again?",
    failed_goodbye="I'm sorry, I'm having technical trouble. Please try again later. Goodbye.",
    goodbye="Thank you. Goodbye.",
    no_more_calls="I'm sorry for the trouble. We won't call this number again. Goodbye.",
    transfer="I'll connect you now. Please hold the line.",
    transfer_failed="I'm sorry, nobody could take your call just now. Is there anything else I can do for you?",
    time_is_up="I'm sorry, our time is up. Thank you for talking with me. Goodbye.",
    voicemail="Please call us back at {number} when it suits you. Thank you, goodbye.",
)
SPANISH = Phrases(
    calling_ai="Hola, soy un asistente de inteligencia artificial y llamo de parte de {organisation}.",
    calling="Hola, llamo de parte de {organisation}.",
    answering_ai="Hola, ha llamado a {organisation}. Soy un asistente de inteligencia artificial.",
    answering="Hola, ha llamado a {organisation}.",
    how_can_i_help="¿En qué puedo ayudarle?",
    robot_yes="Sí, soy un asistente de inteligencia artificial de {organisation}.",
    fillers=("Un momento.", "Déjeme ver.", "Un segundo."),
    still_there=("¿Sigue ahí?", "Hola, ¿me oye?"),
    silence_goodbye="No le oigo, así que voy a colgar. Adiós.",
    hold_check="Sigo aquí. Tómese su tiempo.",
    hold_goodbye="Tengo que dejarle. Llámenos cuando le venga bien. Adiós.",
    apology="Perdón, tengo un pequeño problema. ¿Puede repetirlo?",
    failed_goodbye="Lo siento, tengo problemas técnicos. Inténtelo más tarde, por favor. Adiós.",
    goodbye="Gracias. Adiós.",
    no_more_calls="Disculpe la molestia. No volveremos a llamar a este número. Adiós.",
    transfer="Le paso ahora. No cuelgue, por favor.",
    transfer_failed="Lo siento, nadie ha podido atenderle. ¿Puedo ayudarle en algo más?",
    time_is_up="Lo siento, se nos acaba el tiempo. Gracias por hablar conmigo. Adiós.",
    voicemail="Por favor, llámenos al {number} cuando le venga bien. Gracias, adiós.",
)


def phrases_for(language: str) -> Phrases:
    return SPANISH if language.lower().startswith("es") else ENGLISH


# Notes: system messages that only the model reads, for one turn.
NOTE_OPENING = (
    "The person has just picked up and heard you say who you are. Go on in one or two short sentences: say why you"
    " are calling and ask your first question. Do not greet or introduce yourself again."
)
NOTE_SCREENER = (
    "A call-screening robot asks who is calling and why. It has just heard who you are and for whom you call. Add"
    " one short sentence with the reason for the call. Ask nothing, give nothing private away, call no tool."
)
NOTE_MENU = (
    "You hear an automated menu. Do not speak. Call press_keys once with the keys of the option that serves your"
    " task, or wait if no option does."
)
NOTE_MENU_SPEAK = (
    "The automated menu repeats and did not take your keys. Say the name of the option in one or two words."
)
NOTE_ROBOT = "You have just answered that you are an AI. Do not say it again; go on with the conversation."
NOTE_LOOP = (
    "The other side has said nearly the same thing three times. It may be a recording, or you are not helping."
    " Change your approach: ask something different in one short sentence, or say goodbye and call end_call."
)
NOTE_CONTINUE = "The other side made a sound but said nothing. Go on from where you were cut off."
NOTE_RESULT = "A tool has finished while nobody spoke. Tell the caller its result in one short sentence."


def identity(brief: CallBrief) -> str:
    """Who speaks and for whom. Says that it is an AI unless the organisation has switched that off."""
    words = phrases_for(brief.language)
    if brief.is_outbound:
        text = words.calling_ai if brief.announce_ai else words.calling
    else:
        text = words.answering_ai if brief.announce_ai else words.answering
    return text.format(organisation=brief.organisation)


def robot_answer(brief: CallBrief) -> str:
    return phrases_for(brief.language).robot_yes.format(organisation=brief.organisation)


def opening(brief: CallBrief) -> tuple[str, str]:
    """The fixed first words: (what may not be interrupted, what follows it).

    The identity is left out when the first message itself names the organisation and, where it must, says AI.
    An outbound call without a first message has nothing to follow: the model goes on by itself.
    """
    first = (brief.first_message or "").strip()
    introduces = brief.organisation.casefold() in first.casefold()
    says_ai = _mentions_ai(first) or not brief.announce_ai
    said = "" if introduces and says_ai else identity(brief)
    if not first and not brief.is_outbound:
        first = phrases_for(brief.language).how_can_i_help
    notice = " ".join(part for part in (brief.legal_notice, said) if part)
    return notice, first


def _mentions_ai(text: str) -> bool:
    folded = text.casefold()
    words = folded.replace(".", "").replace(",", " ").split()
    return "ai" in words or "artificial intelligence" in folded or "inteligencia artificial" in folded


def voicemail_message(brief: CallBrief) -> str:
    """The whole message. The customer's own text is introduced in the same way as the opening."""
    own = (brief.voicemail_message or "").strip()
    if not own:
        own = phrases_for(brief.language).voicemail.format(number=brief.from_number)
    introduces = brief.organisation.casefold() in own.casefold()
    if introduces and (_mentions_ai(own) or not brief.announce_ai):
        return own
    return f"{identity(brief)} {own}"
