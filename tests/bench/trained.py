"""Networks that are trained, quantised and measured by the verbs themselves, as a user would."""

import csv
import json
import subprocess
import sys
from datetime import UTC, datetime

__all__ = ["addax", "budget", "now", "trained"]


def addax(*arguments):
    """What a verb says as JSON; its progress goes to standard error."""
    command = [sys.executable, "-m", "addax.cli", *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def now():
    """The date and time of a row."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


def trained(made, network, *arguments, data=None):
    """Train ``network`` into the checkpoint ``made`` and quantise it to 8 bits beside it; training that was stopped
    goes on. What ``addax train`` says, the path of the integers, and the seconds of all epochs."""
    source = () if data is None else ("--data", data)
    value = addax("train", network, *arguments, *source, "--resume", "-o", made)
    integers = made.with_suffix(".addax")
    addax("quantize", made, *source, "-o", integers)
    epochs = csv.DictReader(made.with_suffix(".csv").read_text().splitlines())
    return value, integers, round(sum(float(row["seconds"]) for row in epochs))


def budget(given, option, usual):
    """The arguments ``given`` without ``option`` and its number, and that number: ``usual`` where it is not there."""
    if option not in given:
        return given, usual
    place = given.index(option)
    return given[:place] + given[place + 2 :], int(given[place + 1])
