"""The example script, on answers as NetBox gives them."""

import ast
import http.server
import json
import re
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

    fails = "nothing"  # queries with it in their path

    def do_GET(self):
        assert self.headers["Authorization"] == "Token secret"
        if self.fails in self.path:
            self.send_error(503)
            return
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


class Failing(NetBox):
    """It has answered all queries about machines when one about virtual machines fails."""

    fails = "virtualization/interfaces"


def run(repo, netbox, where):
    """Run the documented command on a NetBox, with the former file in place."""
    script = repo / "docs" / "examples" / "truth_from_netbox.py"
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    command = re.search(r"^    NETBOX_TOKEN=.*\n    mv .*$", text, re.MULTILINE)[0]
    (where / "netbox.csv").write_text("former\n", encoding="utf-8")
    with http.server.HTTPServer(("127.0.0.1", 0), netbox) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for documented, real in (
            ("NETBOX_TOKEN=...", "NETBOX_TOKEN=secret"),
            ("python3 truth_from_netbox.py", f"{sys.executable} {script}"),
            ("https://netbox.example", f"http://127.0.0.1:{server.server_port}/"),
            ("/srv/arp/", f"{where}/"),
        ):
            assert documented in command
            command = command.replace(documented, real)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        server.shutdown()
    return done, (where / "netbox.csv").read_text(encoding="utf-8")


def test_netbox_example_writes_a_truth_file(repo, tmp_path):
    done, written = run(repo, NetBox, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert written == "address,mac,machine\n10.0.1.90,02:00:00:00:00:0b,web1\n"
    assert list(truth_file.parse_truth(written, 30 * 86400)) == ["web1"]


def test_netbox_example_leaves_the_former_file_where_a_query_fails(repo, tmp_path):
    """The physical machines alone would make strangers of all virtual ones."""
    done, written = run(repo, Failing, tmp_path)
    assert (done.returncode != 0, written) == (True, "former\n")
    assert "503" in done.stderr
    assert (tmp_path / "netbox.new").read_text(encoding="utf-8") == ""
