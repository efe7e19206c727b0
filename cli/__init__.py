"""The command line: parse, call, print.

`main.py` lists the commands; `cmd_*.py` declare them (names, options, help) and import only when
they run what does the work; `output.py` and `failures.py` are the only ways to say something.
"""
