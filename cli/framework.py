"""click, as this command line uses it: lazy groups, options from four places, suggestions.

Every command takes `--json`, `--debug`, `--no-color` and the client's `--home`, anywhere on the
line. Every option can be set as `CLAWPURSE_…` too. Help starts with two examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click

from clawpurse.cli.session import Session

ENVIRONMENT_PREFIX: Final = "CLAWPURSE_"
# Folders of nodes: `CLAWPURSE_HOME` stays the client's.
_ENVIRONMENT_OF: Final[Mapping[str, str]] = {"node_home": "CLAWPURSE_NODE_HOME"}
# Where a passphrase comes from: a file, or a descriptor that its parent opened.
_FILE_OPTION: Final = "passphrase_file"
_FD_OPTION: Final = "passphrase_fd"
_DESCRIPTOR_MAX: Final = 999_999
# Below this likeness a suggestion is a guess that sends people astray.
_LIKENESS_MIN: Final = 0.5

F = TypeVar("F", bound=Callable[..., Any])


class Context(click.Context):
    """A context whose defaults come from the client's `config.toml`, read when first needed."""

    def lookup_default(self, name: str, call: bool = True) -> Any:
        """Return what `config.toml` sets for an option, or None.

        Only for the command at the end of the line: it alone knows whether it may need a file
        that is broken.
        """
        session = self.find_object(Session)
        if session is None or isinstance(self.command, click.Group):
            return None
        return session.option_default(name)


class Option(click.Option):
    """An option that `CLAWPURSE_<NAME>` sets too."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        if self.envvar is None and self.name is not None:
            plain = f"{ENVIRONMENT_PREFIX}{self.name.rstrip('_').upper()}"
            self.envvar = _ENVIRONMENT_OF.get(self.name, plain)


option = partial(click.option, cls=Option)


def _set(attribute: str, value: Any = None) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that stores an option on the session (or `value`, for a flag)."""

    def store(context: click.Context, parameter: click.Parameter, given: Any) -> Any:
        session = context.find_object(Session)
        if session is not None and given:
            setattr(session, attribute, given if value is None else value[0])
        return given

    return store


def _common_options(*, home: bool) -> list[click.Parameter]:
    common: list[click.Parameter] = [
        Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set("json_mode", (True,)),
            help="One JSON object on stdout.",
        ),
        Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_set("debug", (True,)),
            help="Show tracebacks.",
        ),
        Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_set("colour", (False,)),
            help="No colours.",
        ),
    ]
    if home:
        common.append(
            Option(
                ["--home"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_set("home"),
                help="The client's folder (default ~/.clawpurse).",
            )
        )
    return common


def _secret_descriptor() -> click.Parameter:
    """`--passphrase-fd N`, for every command that takes `--passphrase-file`."""
    return Option(
        ["--passphrase-fd", _FD_OPTION],
        type=click.IntRange(0, _DESCRIPTOR_MAX),
        metavar="N",
        help="An open descriptor with the passphrase in its one line.",
    )


def node_options(function: F) -> F:
    """Add `--rpc URL`, `--network NAME`, `--ca FILE` and `--token-file FILE` to a command that
    talks to a node; it may have a `--token-file` of its own.
    """
    taken = {parameter.name for parameter in getattr(function, "__click_params__", ())}
    if "token_file" not in taken:
        function = option(
            "--token-file",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_set("token_file"),
            help="A token, for a node that wants one of every caller.",
        )(function)
    for parameter in (
        option(
            "--ca",
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_set("ca"),
            help="Trust the CAs in this PEM file, and no others, for https://.",
        ),
        option("--network", expose_value=False, callback=_set("network_name"), help="A network."),
        option(
            "--rpc",
            metavar="URL",
            expose_value=False,
            callback=_set("rpc"),
            help="The node to talk to (default: the chosen network's).",
        ),
    ):
        function = parameter(function)
    return function


class Command(click.Command):
    """A command with the common options, and examples before everything else in its help."""

    context_class = Context

    def __init__(
        self, *arguments: Any, examples: Sequence[str] = (), mends_config: bool = False, **rest: Any
    ) -> None:
        super().__init__(*arguments, **rest)
        self.examples = tuple(examples)
        self.mends_config = mends_config
        taken = {parameter.name for parameter in self.params}
        own_home = bool(taken & {"home", "node_home"})
        common = _common_options(home=not own_home)
        if _FILE_OPTION in taken:
            common.append(_secret_descriptor())
        self.params.extend(one for one in common if one.name not in taken)

    def make_context(self, *arguments: Any, **settings: Any) -> click.Context:
        """Parse; a command that mends `config.toml` does not read defaults from it."""
        parent = settings.get("parent") or (arguments[2] if len(arguments) > 2 else None)
        session = None if parent is None else parent.find_object(Session)
        if session is not None and self.mends_config:
            session.ignore_config = True
        return super().make_context(*arguments, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; `--passphrase-fd N` is the file `/dev/fd/N`, and wins over settings."""
        descriptor = ctx.params.pop(_FD_OPTION, None)
        if descriptor is not None:
            source = ctx.get_parameter_source(_FILE_OPTION)
            if source is click.core.ParameterSource.COMMANDLINE:
                raise click.UsageError("--passphrase-file and --passphrase-fd exclude each other")
            ctx.params[_FILE_OPTION] = Path(f"/dev/fd/{descriptor}")
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then what it is, then the options."""
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


class Group(click.Group):
    """Commands under one name. Unknown ones are answered with the nearest, never run."""

    context_class = Context
    command_class = Command

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.examples = tuple(examples)
        self.params.extend(_common_options(home=True))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing and not name.startswith("-"):
            known = self.list_commands(ctx)
            near = get_close_matches(name, known, n=1, cutoff=_LIKENESS_MIN)
            raise click.NoSuchCommand(name, possibilities=near, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first."""
        write_examples(formatter, self.examples)
        super().format_help(ctx, formatter)


Group.group_class = Group


class Entry(NamedTuple):
    """A command that is imported when it is used: where it is, and its line in the help."""

    module: str
    attribute: str
    summary: str


class LazyGroup(Group):
    """The root: a table of commands in sections, none imported before it is used."""

    def __init__(
        self,
        *arguments: Any,
        sections: Mapping[str, Mapping[str, Entry]],
        others: Callable[[str], click.Command | None],
        **settings: Any,
    ) -> None:
        """`others` finds commands that no table has: those of installed modules."""
        super().__init__(*arguments, **settings)
        self.sections = sections
        self._others = others
        self._entries = {
            name: entry for entries in sections.values() for name, entry in entries.items()
        }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in the order of the help."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and return it."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return self._others(cmd_name)
        command = getattr(import_module(f"clawpurse.cli.{entry.module}"), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections from the table, importing nothing."""
        for title, entries in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.summary) for name, entry in entries.items()])


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write examples as they are typed, unwrapped, so that they can be pasted."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
        formatter.write_paragraph()
