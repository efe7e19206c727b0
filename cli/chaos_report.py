"""What `testnet chaos` says at the end: what was done to the network, what it did, what broke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from clawpurse.cli.chaos_plan import Kind
from clawpurse.cli.output import FAILED, OK, WARNING, Output, counted
from clawpurse.node.explanation import age_text

# Problems that are shown; a broken network has thousands of the same.
PROBLEMS_MAX: Final = 20
NAMES: Final = {
    Kind.KILL: "kills",
    Kind.KILL_ALL: "kills of all",
    Kind.PAUSE: "pauses",
    Kind.DROP: "dropped connections",
    Kind.CUT: "cuts",
    Kind.ONE_WAY: "one-way cuts",
    Kind.DELAY: "delays",
    Kind.FULL_DISK: "full disks",
}


@dataclass
class Report:
    """Filled during the run. Durations in ms; `checks` are what held, in words."""

    seed: int
    minutes: float
    authorities: int
    home: str
    chain_id: str = ""
    faults: Counter[Kind] = field(default_factory=Counter)
    skipped: dict[Kind, str] = field(default_factory=dict)
    accepted: int = 0
    final: int = 0
    expired: int = 0
    refused: int = 0
    unreachable: int = 0
    blocks: int = 0
    longest_stall_ms: int = 0
    checks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything was tried and everything held."""
        return not self.problems and not self.interrupted

    def problem(self, text: str) -> None:
        """Note what broke; the first few are kept."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)

    @property
    def command(self) -> str:
        """The command that draws the same plan again."""
        return (
            f"clawpurse testnet chaos --seed {self.seed} --minutes {self.minutes:g} "
            f"--authorities {self.authorities}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the one object."""
        return {
            "ok": self.ok,
            "interrupted": self.interrupted,
            "seed": self.seed,
            "minutes": self.minutes,
            "authorities": self.authorities,
            "home": self.home,
            "chainId": self.chain_id,
            "faults": {str(kind): self.faults[kind] for kind in Kind},
            "skipped": {str(kind): why for kind, why in self.skipped.items()},
            "payments": {
                "accepted": self.accepted,
                "final": self.final,
                "expired": self.expired,
                "refused": self.refused,
                "unreachable": self.unreachable,
            },
            "blocks": self.blocks,
            "longestStallMs": self.longest_stall_ms,
            "checks": self.checks,
            "problems": self.problems,
            "repeat": self.command,
        }

    def print(self, out: Output) -> None:
        """Print it: the sentence first, then figures, then what broke."""
        out.line()
        out.line(f"{out.mark(OK if self.ok else FAILED)} {self.sentence()}")
        out.line()
        done = [f"{NAMES[kind]} {self.faults[kind]}" for kind in Kind if self.faults[kind]]
        out.fields(
            [
                ("Faults", _joined(done) or "none"),
                (
                    "Payments",
                    f"{self.accepted} accepted, {self.final} called final at once, "
                    f"{self.expired} expired; {self.refused} refused, "
                    f"{counted(self.unreachable, 'call')} without an answer",
                ),
                ("Blocks", str(self.blocks)),
                ("Longest stall", age_text(self.longest_stall_ms)),
                ("Again", self.command),
            ]
        )
        out.line()
        for check in self.checks:
            out.line(f"{out.mark(OK)} {check}")
        for kind, why in self.skipped.items():
            out.line(f"{out.mark(WARNING)} no {NAMES[kind]}: {why}")
        for problem in self.problems:
            out.line(f"{out.mark(FAILED)} {problem}")
        if not self.ok:
            out.note(f"Logs and chains are kept in {self.home}")

    def sentence(self) -> str:
        """Return the result in words."""
        if self.interrupted:
            return "Broken off before the end: nothing is proven."
        told = counted(sum(self.faults.values()), "fault")
        if self.ok:
            return f"{told} in {self.minutes:g} min, and every promise was kept."
        return f"{told} in {self.minutes:g} min broke something: {self.problems[0]}"


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(parts)
