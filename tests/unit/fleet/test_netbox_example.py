"""The example script, on answers as NetBox gives them."""

import http.server
import json
import subprocess
import sys
import threading

from arp_engine.fleet import truth_file

#: Cut to the fields that matter; shape of NetBox 4.1, /api/ipam/ip-addresses/ and interfaces.
DEVICE = {"id": 7, "name": "web1"}
ADDRESSES = [
    {
        "address": "10.0.1.90/24", "assigned_object_type": "dcim.interface",
        "assigned_object_id": 3, "assigned_object": {"id": 3, "device": DEVICE, "name": "eth0"},
    },
    {"address": "10.0.1.91/24", "assigned_object_id": None, "assigned_object": None},
    {
        "address": "2001:db8::1/64", "assigned_object_type": "dcim.interface",
        "assigned_object_id": 4, "assigned_object": {"id": 4, "device": DEVICE, "name": "eth1"},
    },
]  # fmt: skip
INTERFACES = [
    {"id": 3, "name": "eth0", "mac_address": "02:00:00:00:00:0B"},
    {"id": 4, "name": "eth1", "mac_address": None},
]


class NetBox(http.server.BaseHTTPRequestHandler):
    """Two pages of addresses, one of interfaces; virtual machines have none."""

    def do_GET(self):
        assert self.headers["Authorization"] == "Token secret"
        results, following = [], None
        if "dcim.interface" in self.path:
            second = "offset=2" in self.path
            results = ADDRESSES[2:] if second else ADDRESSES[:2]
            if not second:
                following = f"http://127.0.0.1:{self.server.server_port}{self.path}&offset=2"
        elif "dcim/interfaces" in self.path:
            results = INTERFACES
        body = json.dumps({"next": following, "results": results}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        """Say nothing."""


def test_netbox_example_writes_a_truth_file(repo):
    with http.server.HTTPServer(("127.0.0.1", 0), NetBox) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [sys.executable, repo / "docs" / "examples" / "truth_from_netbox.py",
             f"http://127.0.0.1:{server.server_port}/"],
            capture_output=True, text=True, check=True, env={"NETBOX_TOKEN": "secret"},
        )  # fmt: skip
        server.shutdown()
    assert done.stdout == "address,mac,machine\n10.0.1.90,02:00:00:00:00:0b,web1\n"
    assert list(truth_file.parse_truth(done.stdout, 30 * 86400)) == ["web1"]
