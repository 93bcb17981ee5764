"""A process of its own that asks for holds: `python -m tests.billing.holder URL ORG_ID NAME COUNT AMOUNT`.

Prints "held KEY" or the refusal as soon as each is answered.
"""

import asyncio
import sys

from billing.ledger import Post
from billing.posting import Posting, Transfer
from billing.tables import wallets
from config.clock import new_id
from config.database import Database
from config.door import Door

IN_FLIGHT = 32


async def main(url: str, org_id: str, name: str, count: int, amount: int) -> None:
    database = Database(url)
    door = Door(database, wallets)
    door.open()
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            key = f"{name.replace(' ', '-')}:{number}"
            outcome = await door.submit(Post(Posting(new_id(), key, org_id, "hold", amount)))
            print(f"held {key}" if isinstance(outcome, Transfer) else outcome, flush=True)

    await asyncio.gather(*[client() for _ in range(IN_FLIGHT)])
    await door.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
