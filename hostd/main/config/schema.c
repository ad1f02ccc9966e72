/* The table: see schema.h. */
#include "hostd/main/config/schema.h"

#include <string.h>

#define OBJECT(id, name, many, max, size, doc, example) [id] = {name, many, max, size, doc, example}

static const struct schema_object objects[OBJ_COUNT] = {
    OBJECT(OBJ_TOP, "", false, 1, sizeof(struct draft_top), "keys outside any object", ""),
    OBJECT(OBJ_CARD, "card", true, CFG_CARDS, sizeof(struct draft_card),
           "a network card that does IPsec", "card: [{name: c0, at: pci:0000:01:00.0}]"),
    OBJECT(OBJ_INTERFACE, "interface", true, CFG_INTERFACES, sizeof(struct draft_interface),
           "a network interface whose packets are protected",
           "interface: [{name: ipsec0, port: c0}]"),
    OBJECT(OBJ_POLICY, "policy", true, CFG_POLICIES, sizeof(struct draft_policy),
           "what happens to the packets that match; the first match decides",
           "policy: [{name: lan, remote: 10.2.0.0/24, action: pass}]"),
    OBJECT(OBJ_TUNNEL, "tunnel", true, CFG_POLICIES, sizeof(struct draft_tunnel),
           "the two ends of a tunnel, named by policies",
           "tunnel: [{name: t1, local: 10.0.0.1, remote: 10.0.0.2}]"),
    OBJECT(OBJ_LIMITS, "limits", false, 1, sizeof(struct draft_limits), "bounds of memory",
           "limits: {sas: 16384}"),
    OBJECT(OBJ_LOG, "log", false, 1, sizeof(struct draft_log), "what is logged, and where",
           "log: {level: error}"),
    OBJECT(OBJ_CONTROL, "control", false, 1, sizeof(struct draft_control),
           "who may use the control socket", "control: {read-group: staff}"),
};

#define IN(type, member) offsetof(struct type, member)

/* A row: object, key, type, place, default, allowed, doc, remedy. */
#define KEY(...)                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static const struct schema_key keys[] = {
    KEY(OBJ_TOP, "testing", ST_BOOL, IN(draft_top, testing), "no", "yes|no",
        "allows SAs to be set by hand through the control socket",
        "write testing: yes or testing: no"),

    KEY(OBJ_CARD, "name", ST_NAME, 0, SCHEMA_REQUIRED, "", "the card's name in this file",
        "write name: c0, or another short word"),
    KEY(OBJ_CARD, "at", ST_CARD_AT, IN(draft_card, out.at), SCHEMA_REQUIRED, "",
        "where the card is: a PCI address, or the socket of a card served over vfio-user",
        "write at: pci:0000:01:00.0 or at: unix:/run/c0.sock"),

    KEY(OBJ_INTERFACE, "name", ST_IFNAME, 0, SCHEMA_REQUIRED, "",
        "the interface that the host's own traffic uses", "write name: ipsec0"),
    KEY(OBJ_INTERFACE, "port", ST_PORT_REF, IN(draft_interface, out.port), SCHEMA_REQUIRED, "",
        "the wire: a card's name, or a plain interface",
        "write the name of a card, or if:eth1 for the plain interface eth1"),
    KEY(OBJ_INTERFACE, "standby", ST_PORT_REF, IN(draft_interface, out.standby), "", "",
        "a second port on the same wire, for the time without the first",
        "write the name of another card, or if:eth1 for the plain interface eth1"),
    KEY(OBJ_INTERFACE, "address", ST_ADDRESSES, 0, "", "",
        "addresses with prefix length; from-port moves those of the plain interface, with its "
        "routes",
        "write address: [10.0.0.1/24] or address: from-port"),
    KEY(OBJ_INTERFACE, "gateway", ST_GATEWAYS, 0, "", "", "the default gateway of each family",
        "write gateway: 10.0.0.254, or a list with one address of each family"),
    KEY(OBJ_INTERFACE, "mtu", ST_MTU, IN(draft_interface, mtu), "port", "576..9216",
        "the largest packet", "write mtu: port, or a number from 576 to 9216"),
    KEY(OBJ_INTERFACE, "after-stop", ST_ENUM, IN(draft_interface, after_stop), "discard",
        "discard=0|pass=1", "what happens to packets while the daemon is stopped",
        "write after-stop: discard or after-stop: pass"),

    KEY(OBJ_POLICY, "name", ST_NAME, 0, SCHEMA_REQUIRED, "", "the policy's name in reports",
        "write name: lan, or another short word"),
    KEY(OBJ_POLICY, "local", ST_SELECTOR, IN(draft_policy, local), "any", "",
        "our side: address, prefix, range or any",
        "write 10.1.0.0/24, 10.1.0.1, 10.1.0.1-10.1.0.9, 2001:db8::/32 or any"),
    KEY(OBJ_POLICY, "remote", ST_SELECTOR, IN(draft_policy, remote), "any", "",
        "the peer's side: address, prefix, range or any",
        "write 10.2.0.0/24, 10.2.0.1, 10.2.0.1-10.2.0.9, 2001:db8::/32 or any"),
    KEY(OBJ_POLICY, "protocol", ST_PROTOCOL, IN(draft_policy, proto), "any", "",
        "upper protocol, by name or number",
        "write protocol: tcp, udp, icmp, icmpv6, sctp, any or a number from 1 to 255"),
    KEY(OBJ_POLICY, "local-port", ST_PORTS, IN(draft_policy, local_port), "any", "",
        "our port; for ICMP the type, or type/code",
        "write a port (80), a range (1024-65535) or any; for ICMP a type (8) or type/code (3/4)"),
    KEY(OBJ_POLICY, "remote-port", ST_PORTS, IN(draft_policy, remote_port), "any", "",
        "the peer's port", "write a port (80), a range (1024-65535) or any"),
    KEY(OBJ_POLICY, "action", ST_ENUM, IN(draft_policy, action), SCHEMA_REQUIRED,
        "pass=1|bypass=1|discard=0|protect=2", "what is done with the packets",
        "write action: pass, action: discard or action: protect"),
    KEY(OBJ_POLICY, "transforms", ST_TRANSFORMS, 0, "", "",
        "suites in order of preference, each NAME[/seconds[/kbytes]]; 28800 seconds and no limit "
        "of "
        "octets unless written, 0 is no limit",
        "write transforms: [ESP_AES128_GCM16/28800]"),
    KEY(OBJ_POLICY, "soft", ST_U32, IN(draft_policy, soft), "90", "1..99",
        "percent of a lifetime after which the next SA is negotiated",
        "write a number of percent from 1 to 99"),
    KEY(OBJ_POLICY, "tunnel", ST_NAME, IN(draft_policy, tunnel), "", "",
        "the tunnel that carries the packets", "write the name of a record of tunnel"),
    KEY(OBJ_POLICY, "mode", ST_ENUM, IN(draft_policy, mode), "", "transport=1|tunnel=2",
        "tunnel where tunnel names one, else transport", "write mode: transport or mode: tunnel"),
    KEY(OBJ_POLICY, "encap", ST_ENUM, IN(draft_policy, encap), "none", "none=0|udp=1",
        "UDP encapsulation of SAs that are set by hand", "write encap: none or encap: udp"),
    KEY(OBJ_POLICY, "esn", ST_BOOL, IN(draft_policy, esn), "yes", "yes|no",
        "64-bit sequence numbers", "write esn: yes or esn: no"),
    KEY(OBJ_POLICY, "window", ST_WINDOW, IN(draft_policy, window), "1024", "0|32..4096",
        "replay window in packets", "write 0 (none) or a power of two from 32 to 4096"),
    KEY(OBJ_POLICY, "priority", ST_U32, IN(draft_policy, priority), "", "1..2147483647",
        "the lowest number is tried first; ten times the place in the file unless written",
        "write a number from 1 to 2147483647, or leave it out: the order of the file decides"),

    KEY(OBJ_TUNNEL, "name", ST_NAME, 0, SCHEMA_REQUIRED, "", "the tunnel's name",
        "write name: t1, or another short word"),
    KEY(OBJ_TUNNEL, "local", ST_ADDRESS, IN(draft_tunnel, local), SCHEMA_REQUIRED, "",
        "our end's address", "write an address: local: 10.0.0.1"),
    KEY(OBJ_TUNNEL, "remote", ST_ADDRESS, IN(draft_tunnel, remote), SCHEMA_REQUIRED, "",
        "the other end's address", "write an address: remote: 10.0.0.2"),
    KEY(OBJ_TUNNEL, "mode", ST_ENUM, IN(draft_tunnel, mode), "tunnel", "tunnel=2",
        "the mode of its SAs", "write mode: tunnel, or leave it out"),

    KEY(OBJ_LIMITS, "sas", ST_U32, IN(draft_limits, sas), "16384", "2..1048576",
        "SAs, each direction counts; 1 KiB of locked memory each",
        "write a number from 2 to 1048576"),
    KEY(OBJ_LIMITS, "reassembly", ST_U32, IN(draft_limits, reassembly), "4096", "64..1048576",
        "KiB of fragments that wait for their others", "write KiB: a number from 64 to 1048576"),
    KEY(OBJ_LIMITS, "hold", ST_U32, IN(draft_limits, hold), "256", "0..65536",
        "packets that wait for an SA, of all flows together", "write a number from 0 to 65536"),
    KEY(OBJ_LIMITS, "hold-per-flow", ST_U32, IN(draft_limits, hold_per_flow), "8", "0..1024",
        "packets that wait for an SA, of one flow", "write a number from 0 to 1024"),

    KEY(OBJ_LOG, "level", ST_LEVEL, IN(draft_log, level), "error",
        "alert|error|warning|informative|debug", "the least important level that is written",
        "write level: alert, error, warning, informative or debug"),
    KEY(OBJ_LOG, "directory", ST_DIRECTORY, IN(draft_log, directory), "/var/log/sallyport", "",
        "where the files auditDATE.log are", "write an absolute path, or none"),
    KEY(OBJ_LOG, "file-size", ST_U64, IN(draft_log, file_size), "100", "1..1073741824",
        "KiB after which a new file begins", "write KiB: a number from 1 to 1073741824"),

    KEY(OBJ_CONTROL, "read-group", ST_GROUP, IN(draft_control, read_group), "none", "",
        "the group whose members may read reports", "write the name of a group, or none"),
    KEY(OBJ_CONTROL, "change-group", ST_GROUP, IN(draft_control, change_group), "none", "",
        "the group whose members may change things, as root may",
        "write the name of a group, or none"),
};

enum { N_KEYS = sizeof keys / sizeof *keys };
_Static_assert((int)N_KEYS <= (int)SCHEMA_KEYS_MAX, "SCHEMA_KEYS_MAX holds the table");

const struct schema_object *schema_object(enum schema_object_id id)
{
    return &objects[id];
}

enum schema_object_id schema_object_by_name(const char *name)
{
    int i = OBJ_CARD;

    while (i < OBJ_COUNT && strcmp(objects[i].name, name) != 0)
        i++;
    return (enum schema_object_id)i;
}

const struct schema_key *schema_key_at(unsigned i)
{
    return i < N_KEYS ? &keys[i] : NULL;
}

const struct schema_key *schema_key_find(enum schema_object_id object, const char *key)
{
    for (unsigned i = 0; i < N_KEYS; i++)
        if (keys[i].object == object && strcmp(keys[i].key, key) == 0)
            return &keys[i];
    return NULL;
}

unsigned schema_key_index(const struct schema_key *k)
{
    return (unsigned)(k - keys);
}
