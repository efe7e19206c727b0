"""`clawpurse version` and `clawpurse completion`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command
from clawpurse.cli.session import Session

_ACTIVATE = {
    "bash": 'eval "$(clawpurse completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(clawpurse completion zsh)"    in ~/.zshrc',
    "fish": "clawpurse completion fish > ~/.config/fish/completions/clawpurse.fish",
}


@click.command("version", cls=Command, examples=("clawpurse version", "clawpurse version --json"))
@click.pass_obj
def version(session: Session) -> None:
    """Print the version of this software."""
    from clawpurse.cli.version import version as installed

    if session.json_mode:
        session.out.emit({"version": installed()})
    else:
        session.out.line(f"clawpurse {installed()}")


@click.command(
    "completion", cls=Command, examples=("clawpurse completion bash", "clawpurse completion fish")
)
@click.argument("shell", type=click.Choice(sorted(_ACTIVATE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in your shell."""
    from click.shell_completion import get_completion_class

    session = ctx.find_object(Session)
    kind = get_completion_class(shell)
    assert session is not None
    assert kind is not None
    root = ctx.find_root().command
    script = kind(root, {}, "clawpurse", "_CLAWPURSE_COMPLETE").source()
    if session.json_mode:
        session.out.emit({"shell": shell, "script": script})
        return
    session.out.line(script)
    # A shell that evaluates this at each start wants no advice each time.
    if session.out.live:
        session.out.note(f"Next: {_ACTIVATE[shell]}")
