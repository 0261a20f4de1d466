"""Python's smtplib sends by both ports and with each mechanism that it has in common with mailroot.

Arguments: the STARTTLS port, the implicit port, the CA's file, then the messages of both ports. Each way that worked is
a line of the output, and its name stands in the message for the word WAY.
"""

import pathlib
import smtplib
import ssl
import sys

starttls, implicit, ca, small, large = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)


def connect(name):
    if name == "implicit":
        return smtplib.SMTP_SSL("localhost", int(implicit), "me.example", timeout=60, context=tls)
    client = smtplib.SMTP("localhost", int(starttls), "me.example", timeout=60)
    client.starttls(context=tls)
    return client


for name, message in (("starttls", small), ("implicit", large)):
    for mechanism in ("PLAIN", "LOGIN"):
        way = f"{name}-{mechanism}"
        text = pathlib.Path(message).read_bytes().replace(b"WAY", way.encode())
        with connect(name) as client:
            client.ehlo()
            client.user, client.password = "tim", "hunter2"
            client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")))
            recipients = ["bob@office.example", "eve@office.example"]
            client.sendmail("alice@nas.example", recipients, text, ["body=8bitmime"])
        print(way)
