"""Export, proof and erasure as programs call them, and what a service does of it by itself."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Entity, Line, Personal, Ref, entity
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey, opens
from clawpurse.modules.kit.records import work as working
from clawpurse.modules.kit.records.chores import Chores, spread
from clawpurse.modules.kit.records.disclosure import subject_document
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import TIME
from clawpurse.modules.kit.records.persons import erase_person, wants_compacting
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.tables import tables_of
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, INVALID_PARAMS, NOT_FOUND
from tests.modules.kit.records.desk import HOUR_MS, KINDS, Desk, customer, ticket
from tests.modules.kit.records.test_methods import Office

WORDING = "0x" + hashlib.sha256(b"We keep what you need.").hexdigest()
WHY = "a letter of 3 May"


@pytest.fixture
def office(desk: Desk) -> Office:
    """An office with a customer and two tickets."""
    of = customer(desk)
    for subject in ("Where is my canary?", "It came back"):
        ticket(desk, of, subject=subject)
    return Office(desk)


async def test_a_person_gets_everything_that_is_known_of_it(office: Office) -> None:
    """Otherwise a request under Article 15 is answered by somebody who searches by hand."""
    await office.call(
        "carl", "desk_giveConsent", subject="customer/C-1", category="health", wording=WORDING
    )
    visit = await office.call("anna", "desk_createVisit", customer="C-1", needs="a chair")
    await office.call("anna", "desk_createCustomer", name="Bob Other")
    told = await office.call("olga", "desk_exportSubject", subject="customer/C-1", reason=WHY)
    assert {one["id"] for one in told["records"]} == {"C-1", "T-1", "T-2", visit["id"]}
    assert {name: len(found) for name, found in told["categories"].items()} == {
        "contact": 4,
        "health": 1,
    }
    assert told["categories"]["health"][0]["value"] == "a chair"
    assert [one["verdict"] for one in told["consents"]] == ["given"]
    for one in told["commitments"]:
        text = canonical(one["value"]).encode()
        key, commitment = bytes.fromhex(one["key"][2:]), bytes.fromhex(one["commitment"][2:])
        assert opens(commitment, key, "customer/C-1", one["topic"], text)
    assert len(told["commitments"]) == 5
    assert "Bob Other" not in json.dumps(told)
    noted = office.desk.look(lambda work: work.history.since(0))[-1]
    assert (noted.move, noted.actor, noted.changes["reason"]) == ("exported", "olga", WHY)
    for who, code in (("anna", FORBIDDEN), ("carl", FORBIDDEN)):
        refused = await office.call(who, "desk_exportSubject", subject="customer/C-1", reason=WHY)
        assert refused["code"] == code
    gone = await office.call("olga", "desk_exportSubject", subject="customer/C-9", reason=WHY)
    assert gone["code"] == NOT_FOUND
    bad = await office.call("olga", "desk_exportSubject", subject="nobody", reason=WHY)
    assert bad["code"] == INVALID_PARAMS


async def test_what_one_record_says_of_two_persons_is_told_to_each_apart(tmp_path: Path) -> None:
    """Otherwise whoever asks what is known of them reads about somebody else."""

    @entity("person", prefix="P")
    class Person(Entity):
        """Person"""

        name: Annotated[Line, Personal("contact")]
        flow: ClassVar[Flow] = Flow("new")

    @entity("quarrel", prefix="Q")
    class Quarrel(Entity):
        """Quarrel"""

        one: Annotated[str, Ref("person")]
        other: Annotated[str, Ref("person")]
        said: Annotated[Line, Personal("talk", of="one")]
        answered: Annotated[Line, Personal("talk", of="other")]
        flow: ClassVar[Flow] = Flow("new", Move("end", "new -> over"))

    kinds = {kind.name: kind for kind in (Person.kind, Quarrel.kind)}
    records = made(tmp_path / "quarrels.db", "court", kinds)

    def fill(work: Any) -> None:
        for name in ("Ann", "Ben"):
            work.create(Person.kind, {"name": name})
        given = {"one": "P-1", "other": "P-2", "said": "You lie", "answered": "You do"}
        work.create(Quarrel.kind, given)

    await records.write(TIME, fill)
    told = await records.write(TIME, lambda work: subject_document(work, "person/P-1"))
    assert "You lie" in json.dumps(told)
    assert "You do" not in json.dumps(told)
    await records.write(TIME, lambda work: erase_person(work, "person/P-1", "asked"))
    left = await records.read(lambda work: work.get(Quarrel.kind, 1))
    assert (left.values["said"], left.values["answered"]) == (None, "You do")
    assert left.erased == {"said"}
    records.database.close()


async def test_a_list_is_exported_page_by_page_with_what_the_caller_may_see(
    office: Office,
) -> None:
    """Otherwise an export is a way around who may see what, or ends at the first page."""
    await office.call(
        "carl", "desk_giveConsent", subject="customer/C-1", category="health", wording=WORDING
    )
    for _ in range(3):
        await office.call("anna", "desk_createVisit", customer="C-1", needs="a chair")
    lines: list[Any] = []
    cursor = None
    while True:
        page = await office.call("leo", "desk_exportVisits", limit=2, cursor=cursor)
        lines += page["records"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert [one["id"] for one in lines] == ["V-1", "V-2", "V-3"]
    assert [one["values"]["needs"] for one in lines] == ["a chair"] * 3
    seen = (await office.call("anna", "desk_exportVisits"))["records"][0]
    assert (seen["values"]["needs"], seen["hidden"]) == (None, ["needs"])
    low = await office.call("anna", "desk_exportTickets", state="new", priority="low")
    assert len(low["records"]) == 2


async def test_a_page_as_large_as_may_be_says_that_there_is_another(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a list of five hundred and one tickets ends after five hundred."""
    for number in range(4):
        ticket(office.desk, 1, subject=f"{number}")
    monkeypatch.setattr(working, "LIST_MAX", 5)
    page = await office.call("anna", "desk_exportTickets", limit=5)
    assert (len(page["records"]), page["nextCursor"]) == (5, "T-5")
    page = await office.call("anna", "desk_listTickets", limit=5, cursor=page["nextCursor"])
    assert [one["id"] for one in page["records"]] == ["T-6"]


async def test_an_entry_is_proved_to_whoever_has_hashes_only(office: Office) -> None:
    """Otherwise what a history says has to be believed."""
    await office.call("anna", "desk_moveTicket", id="T-1", move="assign", owner="anna")
    told = await office.call("sam", "desk_proveTicket", id="T-1", version=1, openings=True)
    leaf = hashlib.sha256(b"\x00" + told["text"].encode()).digest()
    assert told["leaf"] == "0x" + leaf.hex()
    before = bytes.fromhex(told["chain"]["before"][2:])
    assert told["chain"]["after"] == "0x" + hashlib.sha256(b"\x01" + before + leaf).hexdigest()
    said = json.loads(json.loads(told["text"])["changes"])
    (opening,) = told["openings"]
    assert said["subject"]["commitment"] == opening["commitment"][2:]
    parts = ["clawpurse/commitment/v1", opening["subject"], opening["topic"]]
    message = b"".join(len(one).to_bytes(4, "big") + one.encode() for one in parts)
    text = canonical(opening["value"]).encode()
    key = bytes.fromhex(opening["key"][2:])
    made = hmac.digest(key, message + text, "sha256")
    assert opening["commitment"] == "0x" + made.hex()
    assert (opening["value"], told["audit"]) == ("Where is my canary?", None)
    newest = await office.call("sam", "desk_proveTicket", id="T-1")
    assert (newest["entry"]["move"], newest["openings"]) == ("assign", [])
    missing = await office.call("sam", "desk_proveTicket", id="T-1", version=9)
    assert missing["code"] == NOT_FOUND
    await office.call("olga", "desk_eraseSubject", subject="customer/C-1", reason=WHY)
    after = await office.call("sam", "desk_proveTicket", id="T-1", version=1, openings=True)
    assert (after["text"], after["leaf"]) == (told["text"], told["leaf"])
    assert (after["openings"], after["closed"]) == ([], ["subject"])


async def test_openings_are_for_who_may_see_the_field(office: Office) -> None:
    """Otherwise a proof tells what the record itself hides."""
    await office.call(
        "carl", "desk_giveConsent", subject="customer/C-1", category="health", wording=WORDING
    )
    await office.call("anna", "desk_createVisit", customer="C-1", needs="a chair")
    for who, shown, closed in (("leo", 1, []), ("anna", 0, ["needs"])):
        told = await office.call(who, "desk_proveVisit", id="V-1", openings=True)
        assert (len(told["openings"]), told["closed"]) == (shown, closed)


async def test_a_record_or_its_person_is_erased_by_who_may(office: Office) -> None:
    """Otherwise an agent deletes what a customer complained about."""
    for who in ("anna", "leo", "sam", "carl"):
        refused = await office.call(who, "desk_eraseTicket", id="T-1", reason=WHY)
        assert refused["code"] == FORBIDDEN
        refused = await office.call(who, "desk_eraseTicket", id="T-1", reason=WHY, person=True)
        assert refused["code"] == FORBIDDEN
        refused = await office.call(who, "desk_eraseSubject", subject="customer/C-1", reason=WHY)
        assert refused["code"] == FORBIDDEN
    done = await office.call("olga", "desk_eraseTicket", id="T-1", reason=WHY)
    assert done == {
        "news": True,
        "subjects": [],
        "records": 1,
        "commitments": 1,
        "compacted": True,
    }
    assert not office.desk.look(wants_compacting)
    done = await office.call("olga", "desk_eraseTicket", id="T-2", reason=WHY, person=True)
    assert (done["subjects"], done["records"]) == (["customer/C-1"], 3)
    again = await office.call("olga", "desk_eraseCustomer", id="C-1", reason=WHY)
    assert (again["news"], again["compacted"]) == (False, True)
    late = await office.call(
        "carl", "desk_giveConsent", subject="customer/C-1", category="health", wording=WORDING
    )
    assert late["code"] == NOT_FOUND


async def test_what_a_person_agreed_to_is_kept_and_asked_for(office: Office) -> None:
    """Otherwise nobody can show later that there was a consent, or that it was taken back."""
    about = {"subject": "customer/C-1", "category": "health", "wording": WORDING}
    refused = await office.call("anna", "desk_createVisit", customer="C-1", needs="a chair")
    assert refused["code"] == CONFLICT
    given = await office.call("carl", "desk_giveConsent", **about, idempotencyKey="consent-1")
    assert given == await office.call(
        "carl", "desk_giveConsent", **about, idempotencyKey="consent-1"
    )
    await office.call("carl", "desk_withdrawConsent", **about)
    told = await office.call("olga", "desk_listConsents", subject="customer/C-1")
    assert [one["verdict"] for one in told["consents"]] == ["given", "withdrawn"]
    assert told["now"] == {"health": False}
    refused = await office.call("anna", "desk_listConsents", subject="customer/C-1")
    assert refused["code"] == FORBIDDEN
    refused = await office.call("carl", "desk_giveConsent", **{**about, "wording": "0xabc"})
    assert refused["code"] == INVALID_PARAMS


def made(file: Path, service: str, kinds: Any) -> Transactions:
    tables = tables_of(kinds.values())
    database = Database(file, service)
    database.write_now(tables.metadata.create_all)
    times = iter(range(1_800_000_000_000, 1_900_000_000_000, 1_000))
    keys = KeyRing(MasterKey(b"m" * 32))
    return Transactions(service, tables, kinds, database, keys, lambda: next(times))


@entity("copy", prefix="K")
class Copy(Entity):
    """Copy"""

    customer: Annotated[str, Ref("desk.customer")]
    name: Annotated[Line, Personal("contact", of="customer")]
    flow: ClassVar[Flow] = Flow("new")


@pytest.fixture
def others(tmp_path: Path) -> Iterator[list[Transactions]]:
    """A service with a copy of a customer, and one that has nothing to do with it."""
    found = [
        made(tmp_path / "copies.db", "copies", {"copy": Copy.kind}),
        made(tmp_path / "third.db", "third", {"customer": KINDS["customer"]}),
    ]
    yield found
    for one in found:
        one.database.close()


async def test_services_that_name_a_person_erase_it_too(
    office: Office, others: list[Transactions]
) -> None:
    """Otherwise who is forgotten at the desk is remembered in the next room."""
    copies, third = others
    given = {"customer": "desk.customer/C-1".partition("/")[2], "name": "Ada Canary"}
    await copies.write(TIME, lambda work: work.create(Copy.kind, given))
    await third.write(TIME, lambda work: work.create(KINDS["customer"], {"name": "Somebody"}))
    await office.call("olga", "desk_eraseSubject", subject="customer/C-1", reason=WHY)
    assert await spread(office.records, others) == 1
    assert await spread(office.records, others) == 0
    gone = await copies.read(lambda work: work.get(Copy.kind, 1))
    assert (gone.values["name"], set(gone.erased)) == (None, {"name"})
    kept = await third.read(lambda work: work.get(KINDS["customer"], 1))
    assert kept.values["name"] == "Somebody"
    chores = Chores(copies, list)
    assert await copies.read(wants_compacting)
    await chores.step()
    assert not await copies.read(wants_compacting)


async def test_a_reader_of_old_data_delays_compacting_and_does_not_lose_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a long export at the wrong moment leaves the bytes in the file for ever."""
    database = office.desk.database
    compact = database.compact
    monkeypatch.setattr(database, "compact", lambda: False)
    done = await office.call("olga", "desk_eraseSubject", subject="customer/C-1", reason=WHY)
    assert done["compacted"] is False
    monkeypatch.setattr(database, "compact", compact)
    await Chores(office.records, list).step()
    assert not office.desk.look(wants_compacting)


def test_compacting_says_when_a_reader_is_in_the_way(desk: Desk) -> None:
    """Otherwise it is called done while the write-ahead file has every byte."""
    of = customer(desk)
    reader = desk.database.engine.connect()
    reader = reader.execution_options(reads_only=True)
    with reader.begin():
        reader.exec_driver_sql("SELECT count(*) FROM customer").all()
        customer(desk, name="Another One")
        desk.database.engine.connect().close()
        desk.database.write_now(lambda db: db.exec_driver_sql("PRAGMA busy_timeout=10"))
        assert desk.database.compact() is False
    reader.close()
    assert desk.database.compact() is True
    assert of == 1


async def test_chores_do_what_is_due_and_leave_the_rest(office: Office) -> None:
    """Otherwise a breach waits for a restart, or every second writes to a quiet database."""
    desk = office.desk
    chores = Chores(office.records, list)
    while await chores.step():
        pass
    head = desk.look(lambda work: work.history.head())
    await chores.step()
    assert desk.look(lambda work: work.history.head()) == head
    desk.now_ms += 5 * HOUR_MS
    await chores.step()
    moves = [one.move for one in desk.look(lambda work: work.history.since(head[0]))]
    assert moves == ["first_reply.breached"] * 2
