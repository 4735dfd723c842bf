#!/usr/bin/env python3
"""Write NetBox's addresses and MACs as a truth file for `salt-run arp.audit truth=file:netbox.csv`.

    NETBOX_TOKEN=... python3 truth_from_netbox.py https://netbox.example > /srv/arp/netbox.new &&
    mv /srv/arp/netbox.new /srv/arp/netbox.csv

Run it from cron, as one line. Where a query fails, nothing is written, and the former file stays:
half a file would make strangers of all machines that are not in it. An address without an
interface, and an interface without a MAC, are left out. Standard library alone.
"""

import csv
import json
import os
import sys
import urllib.parse
import urllib.request


def read(url, token):
    """Yield the results of one list of the API, page by page."""
    while url:
        headers = {"Authorization": f"Token {token}"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 (the operator's own)
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            page = json.load(response)
        yield from page["results"]
        url = page["next"]


def rows(addresses, interfaces):
    """Yield address, mac, machine for each address that is assigned to an interface with a MAC."""
    macs = {each["id"]: each["mac_address"] for each in interfaces if each["mac_address"]}
    for address in addresses:
        interface = address.get("assigned_object") or {}
        machine = interface.get("device") or interface.get("virtual_machine")
        mac = macs.get(address.get("assigned_object_id"))
        if mac and machine:
            yield address["address"].partition("/")[0], mac.lower(), machine["name"]


def main(base):
    """Read NetBox, then write CSV: a query that fails leaves no half of it."""
    token, base = os.environ["NETBOX_TOKEN"], base.rstrip("/")
    found = []
    for kind, path in (
        ("dcim.interface", "dcim/interfaces"),
        ("virtualization.vminterface", "virtualization/interfaces"),
    ):
        query = urllib.parse.urlencode({"limit": 1000, "assigned_object_type": kind})
        addresses = read(f"{base}/api/ipam/ip-addresses/?{query}", token)
        interfaces = read(f"{base}/api/{path}/?limit=1000", token)
        found += rows(addresses, interfaces)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["address", "mac", "machine"])
    writer.writerows(found)


if __name__ == "__main__":
    main(*sys.argv[1:])
