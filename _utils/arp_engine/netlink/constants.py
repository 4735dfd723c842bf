"""Kernel constants that several files use, each with the header that defines it.

A constant that only one file uses may be defined there, also with its header.

Constants that every supported release of pyroute2 has (RTM_*, NLM_F_*, NLMSG_*) are imported from
pyroute2. Those here are needed before pyroute2 is installed (the formula checks pillar with them),
or missing from one of its releases. Standard library alone.
"""

import os
import socket

TICKS = os.sysconf("SC_CLK_TCK")  # ticks a second: the unit of the ages in NDA_CACHEINFO

# --- include/uapi/linux/neighbour.h: states, NUD_*
STATES = {
    "INCOMPLETE": 0x01,
    "REACHABLE": 0x02,
    "STALE": 0x04,
    "DELAY": 0x08,
    "PROBE": 0x10,
    "FAILED": 0x20,
    "NOARP": 0x40,
    "PERMANENT": 0x80,
    "NONE": 0x00,
}
INCOMPLETE, REACHABLE, PROBE, FAILED = 0x01, 0x02, 0x10, 0x20
STALE, DELAY = 0x04, 0x08
NOARP, PERMANENT = 0x40, 0x80
# include/net/neighbour.h, NUD_VALID: the states in which an entry has a MAC
VALID = PERMANENT | NOARP | REACHABLE | PROBE | STALE | DELAY

# --- the same header: flags of an entry
NTF_PROXY, NTF_EXT_LEARNED, NTF_STICKY = 0x08, 0x10, 0x40
NTF_EXT_MANAGED, NTF_EXT_EXT_VALIDATED = 0x01, 0x04  # in NDA_FLAGS_EXT

# --- the same header: attributes of an entry
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_IFINDEX = 1, 2, 3, 4, 8
NDA_VLAN, NDA_MASTER, NDA_PROTOCOL, NDA_FLAGS_EXT = 5, 9, 12, 15

# --- the same header: attributes of a table
NDTA_NAME, NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3, NDTA_CONFIG, NDTA_PARMS = 1, 2, 3, 4, 5, 6
NDTA_STATS = 7
NDTPA_IFINDEX, NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_APP_PROBES = 1, 4, 5, 9
NDTPA_DELAY_PROBE_TIME, NDTPA_UCAST_PROBES, NDTPA_LOCKTIME, NDTPA_MCAST_REPROBES = 7, 10, 15, 17

# --- include/uapi/linux/rtnetlink.h: NDA_PROTOCOL, who wrote an entry (as iproute2's rt_protos)
PROTOCOLS = {
    2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird",
    13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived",
    42: "babel", 84: "ovn", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip",
    192: "eigrp",
}  # fmt: skip
# --- the same header: RTN_*, the route types of addresses that are not one neighbour's
KINDS = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}

# --- the same header: multicast groups of notifications
RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR = 1, 3, 5, 9

# --- the same header: how far an address reaches
RT_SCOPE_LINK = 253

# --- the same header: attributes of a route
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_MULTIPATH = 1, 2, 4, 5, 7, 9
RTA_MARK, RTA_VIA, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 16, 18, 27, 28, 29
FRA_PRIORITY = 6  # linux/fib_rules.h: an attribute of a rule
RTM_F_FIB_MATCH = 0x2000  # of a request: answer with the route itself, all its next hops

# --- include/uapi/linux/if.h
IFF_UP, IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING, IFF_NOARP = 0x01, 0x08, 0x10, 0x40, 0x80
# --- include/uapi/linux/if_link.h: attributes of a device
IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_AF_SPEC = 1, 2, 3, 5, 10, 26
IFLA_EXT_MASK, IFLA_CARRIER_CHANGES, IFLA_ALT_IFNAME, IFLA_INET6_CONF = 29, 35, 53, 2
IFLA_LINK_NETNSID = 37  # the other device is in another namespace: its index says nothing here
IFLA_LINKINFO, IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND, IFLA_INET_CONF = 18, 1, 4, 1
IFLA_INFO_DATA, IFLA_INFO_SLAVE_DATA = 2, 5
# --- include/uapi/linux/capability.h
CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
# --- include/uapi/asm-generic/socket.h; missing from Python's socket module
SO_RCVBUFFORCE = 33
# --- include/uapi/linux/sockios.h
SIOCGIFNAME, SIOCGIFFLAGS = 0x8910, 0x8913

# --- include/uapi/linux/netlink.h
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK, NLA_F_NESTED = 0x3FFF, 0x8000

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
FAMILY_NAMES = {number: name for name, number in FAMILIES.items()}
