"""``jaxsep completion SHELL``: what bash, zsh or fish need to complete the command, from its own options."""

from __future__ import annotations

import argparse

_BASH = """_jaxsep() {{
  local words command=${{COMP_WORDS[1]}} word=${{COMP_WORDS[COMP_CWORD]}}
  case $command in
{cases}
    *) words="{commands}" ;;
  esac
  [ "$COMP_CWORD" -gt 1 ] || words="{commands}"
  if [[ $word == -* || $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W "$words" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word")); fi
}}
complete -o filenames -F _jaxsep jaxsep"""


def completion(options) -> int:
    """Print the shell's script."""
    from jaxsep.cli import _parser

    print(script(options.shell, _parser()))
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion of a parser with subcommands, for ``bash``, ``zsh`` or ``fish``."""
    actions = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    flags = {
        name: [(f, action.help or "") for action in sub._actions for f in action.option_strings]
        for name, sub in actions.choices.items()
    }
    if shell == "fish":
        lines = ["complete -c jaxsep -n __fish_use_subcommand -f -a '" + " ".join(flags) + "'"]
        for name, options in flags.items():
            seen = f"-n '__fish_seen_subcommand_from {name}'"
            for flag, text in options:
                kind = "-l" if flag.startswith("--") else "-s"
                note = text.split("(")[0].strip().replace("'", "")
                lines.append(f"complete -c jaxsep {seen} {kind} {flag.lstrip('-')} -d '{note}'")
        return "\n".join(lines)
    cases = "\n".join(
        f'    {name}) words="{" ".join(flag for flag, _ in options)}" ;;' for name, options in flags.items()
    )
    bash = _BASH.format(cases=cases, commands=" ".join(flags))
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash}" if shell == "zsh" else bash
