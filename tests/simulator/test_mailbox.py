"""Mail sent with a real SMTP client, read as page and JSON."""

import ssl
from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import httpx
import pytest

from simulator.app import Options, running
from simulator.mailbox import Mailbox

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes longer than a test


@pytest.fixture
async def mailbox() -> AsyncIterator[tuple[Mailbox, httpx.AsyncClient]]:
    box = Mailbox(port=0)
    async with (
        running(Options(seed=1, mailbox=box)) as (base, _),
        httpx.AsyncClient(base_url=base, verify=PLAIN) as client,
    ):
        await client.get("/mail")  # whoever answers listens for mail as well
        yield box, client


def _letter(subject: str, text: str, to: str = "ana@example.com") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "hello@example.com", to, subject
    message.set_content(text)
    return message


async def _send(box: Mailbox, *messages: EmailMessage) -> None:
    async with aiosmtplib.SMTP(hostname=box.host, port=box.port) as smtp:
        for message in messages:
            await smtp.send_message(message)


async def _read(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = (await client.get("/_sim/mail", params=query)).json()["messages"]
    return messages


async def test_a_mail_arrives_with_its_link(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    await _send(box, _letter("Grüezi, confirm", "Open http://127.0.0.1:8000/verify?token=a.b&x=1.\nBye"))
    (letter,) = await _read(client)
    assert letter["subject"] == "Grüezi, confirm"
    assert letter["recipients"] == ["ana@example.com"]
    assert letter["links"] == ["http://127.0.0.1:8000/verify?token=a.b&x=1"]
    page = (await client.get(f"/mail/{letter['id']}")).text
    assert 'href="http://127.0.0.1:8000/verify?token=a.b&amp;x=1"' in page


async def test_the_newest_comes_first(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    await _send(box, *[_letter(f"Number {number}", "Hello") for number in range(3)])
    assert [letter["subject"] for letter in await _read(client)] == ["Number 2", "Number 1", "Number 0"]
    page = (await client.get("/mail")).text
    assert page.index("Number 2") < page.index("Number 1") < page.index("Number 0")


async def test_mail_is_found_by_its_recipient(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    await _send(box, _letter("For Ana", "Hello"), _letter("For Ben", "Hello", to="ben@example.com"))
    assert [letter["subject"] for letter in await _read(client, to="ben@example.com")] == ["For Ben"]


async def test_markup_in_a_mail_is_shown_as_text(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    attack = "<script>alert(1)</script>"
    page_only = EmailMessage()
    page_only["To"], page_only["From"], page_only["Subject"] = "ana@example.com", "x@example.com", "HTML"
    page_only.set_content(f"<p>{attack}<a href='javascript:alert(1)'>x</a></p>", subtype="html")
    await _send(box, _letter(attack, f"{attack} javascript:alert(1)"), page_only)
    pages = [await client.get(path) for path in ("/mail", "/mail/1", "/mail/2")]
    for page in pages:
        assert "<script" not in page.text
        assert 'href="javascript' not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "&lt;script&gt;alert(1)" in pages[2].text


async def test_a_mail_over_one_megabyte_is_refused(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await _send(box, _letter("Large", "x" * 70 + "\n" + ("y" * 70 + "\n") * 15_000))
    assert refused.value.code == 552
    assert await _read(client) == []


async def test_the_oldest_of_more_than_two_hundred_go(mailbox: tuple[Mailbox, httpx.AsyncClient]) -> None:
    box, client = mailbox
    await _send(box, *[_letter(f"Number {number}", "Hello") for number in range(203)])
    letters = await _read(client)
    assert len(letters) == 200
    assert (letters[0]["subject"], letters[-1]["subject"]) == ("Number 202", "Number 3")
    assert (await client.get("/mail/1")).status_code == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no header at all\r\n",
        b"Subject: =?utf-8?b?!!!?=\r\n\r\ntext\r\n",
        b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n",
    ],
)
async def test_a_broken_mail_is_kept_and_shown(mailbox: tuple[Mailbox, httpx.AsyncClient], raw: bytes) -> None:
    box, client = mailbox
    async with aiosmtplib.SMTP(hostname=box.host, port=box.port) as smtp:
        await smtp.sendmail("x@example.com", ["ana@example.com"], raw)
    (letter,) = await _read(client)
    assert (await client.get("/mail")).status_code == 200
    assert (await client.get(f"/mail/{letter['id']}")).status_code == 200


def test_the_mailbox_listens_on_loopback_alone() -> None:
    with pytest.raises(ValueError, match="loopback"):
        Mailbox(host="0.0.0.0")
