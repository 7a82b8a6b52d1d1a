"""Runs functions of one of the modules beside it, for tests in another process: `serve.py MODULE`.

Each line of input is a JSON list of a function's name and its arguments, each line of output the answer: `result`, or
`error` with the class and the message of what was raised. What the service logs goes to the error output. Secrets come
in with the arguments, never by the command line or the environment.
"""

import base64
import importlib
import json
import sys
import traceback


def plain(value) -> str:
    """What JSON has no form for."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f'a service answered with {type(value)}')


def answer(module, line: str) -> dict:
    function, arguments = json.loads(line)
    try:
        return {'result': getattr(module, function)(**arguments)}
    except Exception as error:
        traceback.print_exc()
        return {'error': [type(error).__name__, str(error)]}


def main() -> None:
    # Nothing a service prints may stand among the answers.
    output, sys.stdout = sys.stdout, sys.stderr
    module = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(answer(module, line), default=plain), file=output, flush=True)


main()
