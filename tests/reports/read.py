"""Reads a delivery report as strangers do, and says what it found, one fact a line.

    read.py REPORT

Two readers that are not ours: the email package of Python, every defect an error, and flufl.bounce, with which Mailman
tells whom to unsubscribe. Between them stands RFC 3464, field by field: which fields there may be, how often, and what
each may say. What breaks a rule ends the run with a sentence.
"""

import email
import email.policy
import re
import sys
from email.utils import parsedate_to_datetime

TYPED = r"[A-Za-z][A-Za-z0-9-]*; ?\S.*"
DATE = "date"
# RFC 3464 s2.2 and s2.3: the name, whether it must be there, and what it may say.
MESSAGE = {
    "original-envelope-id": (False, r"\S.*"),
    "reporting-mta": (True, r"dns; ?[A-Za-z0-9.:\[\]-]+"),
    "dsn-gateway": (False, TYPED),
    "received-from-mta": (False, r"dns; ?[A-Za-z0-9.:\[\]-]+"),
    "arrival-date": (False, DATE),
}
RECIPIENT = {
    "original-recipient": (False, r"(rfc822|utf-8); ?\S+@\S+"),
    "final-recipient": (True, r"(rfc822|utf-8); ?\S+@\S+"),
    "action": (True, r"failed|delayed|delivered|relayed|expanded"),
    "status": (True, r"[245]\.\d{1,3}\.\d{1,3}"),
    "remote-mta": (False, r"dns; ?[A-Za-z0-9.:\[\]-]+"),
    "diagnostic-code": (False, TYPED),
    "last-attempt-date": (False, DATE),
    "final-log-id": (False, r"\S.*"),
    "will-retry-until": (False, DATE),
}
CLASS = {"failed": "5", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}


def insist(truth, sentence):
    if not truth:
        sys.exit("the report breaks a rule: " + sentence)


def fields(group, rules, where):
    names = [name.lower() for name in group.keys()]
    for name in names:
        insist(name in rules, f"{where} has the field {name}, which RFC 3464 does not know")
        insist(names.count(name) == 1, f"{where} has {name} more than once")
    for name, (needed, form) in rules.items():
        insist(not needed or name in names, f"{where} has no {name}")
        if name not in names:
            continue
        value = " ".join(group[name].split())
        if form == DATE:
            when = parsedate_to_datetime(value)
            insist(when.tzinfo is not None and when.year > 2020, f"{where}: {name} is no date: {value}")
            value = "a date"
        else:
            insist(re.fullmatch(form, value), f"{where}: {name} may not say {value!r}")
        print(f"{where}: {name}: {value}")


def main(path):
    raw = open(path, "rb").read()
    insist(b"\n" not in raw.replace(b"\r\n", b""), "a line does not end in CRLF")
    for line in raw.split(b"\r\n"):
        insist(len(line) <= 998, "a line is longer than 998 bytes")
    # The folder's own lines on top are the envelope.
    lines = raw.split(b"\r\n")
    while lines[0].startswith((b"X-Sender:", b"X-Receiver:")):
        print("envelope:", lines.pop(0).decode())
    text = b"\r\n".join(lines)
    report = email.message_from_bytes(text, policy=email.policy.default)
    for part in report.walk():
        insist(not part.defects, f"{part.get_content_type()} has {part.defects}")
    insist(report.get_content_type() == "multipart/report", "it is no multipart/report")
    insist(report.get_param("report-type") == "delivery-status", "its report-type is another")
    for name in ("From", "To", "Date", "Message-ID", "Subject"):
        insist(report[name], f"it has no {name}")
    insist(report["Auto-Submitted"] == "auto-replied", "it does not say Auto-Submitted: auto-replied")
    print("to:", report["To"])
    print("subject:", report["Subject"])
    parts = list(report.iter_parts())
    insist(len(parts) == 3, "it has not three parts")
    kinds = [part.get_content_type() for part in parts]
    insist(kinds[0] == "text/plain", "its first part is not for people")
    insist(kinds[1].endswith("delivery-status"), "its second part is not for programs")
    insist(
        kinds[2] in ("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers"),
        f"its third part is {kinds[2]}",
    )
    insist(parts[0].get_content().strip(), "its first part says nothing")
    groups = parts[1].get_payload()
    fields(groups[0], MESSAGE, "message")
    insist(len(groups) > 1, "it speaks of no recipient")
    for group in groups[1:]:
        who = group["Final-Recipient"].split(";")[1].strip()
        fields(group, RECIPIENT, who)
        action = group["Action"]
        insist(group["Status"][0] == CLASS[action], f"{who}: the status is of another class than {action}")
        insist(action == "delayed" or not group["Will-Retry-Until"], f"{who}: retried although {action}")
        insist(action not in ("failed", "delayed") or group["Diagnostic-Code"], f"{who}: no diagnostic")
        people = " ".join(parts[0].get_content().split())
        insist(who in people, f"{who} is not named to people")
    if kinds[2] == "text/rfc822-headers":
        original = email.message_from_string(parts[2].get_payload())
        insist(not original.get_payload().strip(), "more than the header came back")
        print("returned: header of", original["Subject"])
    else:
        original = parts[2].get_payload()[0]
        print("returned: whole of", original["Subject"], "with", " ".join(original.get_payload().split()))
    try:
        from flufl.bounce import all_failures
    except ImportError:
        print("mailman: absent")
        return
    temporary, permanent = all_failures(email.message_from_bytes(text))
    print("mailman: gone", " ".join(sorted(a.decode() for a in permanent)) or "nobody")
    print("mailman: slow", " ".join(sorted(a.decode() for a in temporary)) or "nobody")


main(sys.argv[1])
