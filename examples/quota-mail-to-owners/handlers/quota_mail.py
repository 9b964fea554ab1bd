"""Mails the person who owns what a quota is about: the user, or the owner of the fileset or group."""

import smtplib
from email.message import EmailMessage

from clusterbus import Rejected

OWNERS = {"projects": "pi-projects", "scratch": "hpc-team"}
"""Who owns a fileset or a group.  A user owns what is theirs."""

TEXT = """\
{what} on {fs} uses {used:.1f} GiB, which is more than its quota of {quota:.1f} GiB.
Nothing can be written once it reaches {limit:.1f} GiB. Please remove or archive files.
"""


def send(fsName, quotaType, quotaOwnerName, filesetName, blockUsage, blockQuota, blockLimit, server, sender, domain):
    owner = (
        quotaOwnerName if quotaType == "USR" else OWNERS.get(filesetName if quotaType == "FILESET" else quotaOwnerName)
    )
    if not owner:
        raise Rejected(f"nobody is known to own {filesetName or quotaOwnerName} on {fsName}: add it to OWNERS")
    what = f"The fileset {filesetName}" if quotaType == "FILESET" else f"The {quotaType} {quotaOwnerName}"
    used, quota, limit = (each / 2**20 for each in (blockUsage, blockQuota, blockLimit))
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, f"{owner}@{domain}"
    mail["Subject"] = f"{what} on {fsName} is over its quota"
    mail.set_content(TEXT.format(what=what, fs=fsName, used=used, quota=quota, limit=limit))
    host, _, port = server.partition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as connection:
        connection.send_message(mail)
    return mail["To"]
