"""Verifies every DKIM signature of a message with dkimpy, and says what it found, one signature a line.

    verify.py RECORDS MESSAGE

RECORDS stands in for DNS: a name and its TXT record a line, with a tab between.
"""

import sys

import dkim


def main(records, path):
    zone = {}
    for line in open(records, encoding="ascii"):
        name, record = line.rstrip("\n").split("\t")
        zone[name.encode() + b"."] = record.encode()
    message = open(path, "rb").read()

    def lookup(name, timeout=5):
        return zone.get(name)

    verifier = dkim.DKIM(message)
    count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
    for index in range(count):
        one = dkim.DKIM(message, minkey=2048)
        try:
            good = one.verify(idx=index, dnsfunc=lookup)
        except dkim.DKIMException as error:
            good = False
            print(f"signature {index}: {error}", file=sys.stderr)
        tags = {key.decode(): value.decode() for key, value in one.signature_fields.items()}
        print(tags["a"], tags["c"], tags["s"] + "@" + tags["d"], "good" if good else "bad")
    print(count, "signatures")


main(*sys.argv[1:])
