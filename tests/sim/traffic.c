#include "tests/sim/sim.h"

#include "hostd/base/bytes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Applications on both hosts: UDP datagrams with serial numbers under one policy a flow. */

enum { PORT = 5000, PAYLOAD_HEAD = 12, MAX_PAYLOAD = 1200 };

static const struct {
    bool inner6, outer6, tunnel, udp, esn;
    const char *suite;
} shapes[] = {{false, false, true, false, false, "ESP_AES128_GCM16"},
              {true, true, true, false, true, "ESP_AES256_GCM16"},
              {false, true, true, true, true, "ESP_AES128_GCM16"},
              {true, false, true, false, false, "ESP_AES256_GCM16"},
              {false, false, false, false, true, "ESP_AES128_GCM16"},
              {true, true, false, true, false, "ESP_AES256_GCM16"},
              {false, false, true, true, false, "ESP_AES128_GCM16"},
              {false, false, true, false, true, "ESP_AES128_CBC_HMAC_SHA2_256"}};

const struct ip_addr *sim_addr(int host, bool six, bool inner, unsigned flow)
{
    static struct ip_addr table[SIM_HOSTS][2][2][SIM_FLOWS];
    struct ip_addr *a = &table[host][six][inner][flow];
    char text[64];
    if (a->family)
        return a;
    if (six)
        snprintf(text, sizeof text, inner ? "fd0%d:0:%x::1" : "fd00::%d", host + 1, flow);
    else
        snprintf(text, sizeof text, inner ? "10.%d.%u.1" : "10.0.0.%d", host + 1, flow);
    (void)ip_parse(text, a);
    return a;
}

void flows_make(struct sim *s)
{
    s->n_flows = sizeof shapes / sizeof shapes[0];
    for (unsigned i = 0; i < s->n_flows; i++) {
        struct flow *f = &s->flow[i];
        snprintf(f->name, sizeof f->name, "flow%u", i);
        f->inner6 = shapes[i].inner6;
        f->outer6 = shapes[i].outer6;
        f->tunnel = shapes[i].tunnel;
        f->udp = shapes[i].udp;
        f->esn = shapes[i].esn;
        f->suite = esp_suite_by_name(shapes[i].suite);
        f->room = 1 << 16;
        for (int h = 0; h < SIM_HOSTS; h++)
            f->seen[h] = calloc(1, f->room / 8);
    }
}

void flows_free(struct sim *s)
{
    for (unsigned i = 0; i < s->n_flows; i++)
        for (int h = 0; h < SIM_HOSTS; h++)
            free(s->flow[i].seen[h]);
}

static const struct ip_addr *inner_addr(const struct flow *f, int host, unsigned i)
{
    return sim_addr(host, f->inner6, f->tunnel, i);
}

static void flow_policy(struct sim *s, int host, unsigned i, struct spd_policy *p)
{
    const struct flow *f = &s->flow[i];
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", f->name);
    p->action = SPD_PROTECT;
    p->sel.local.lo = p->sel.local.hi = *inner_addr(f, host, i);
    p->sel.remote.lo = p->sel.remote.hi = *inner_addr(f, !host, i);
    p->sel.proto = IPP_UDP;
    p->sel.local_port = p->sel.remote_port =
        (struct spd_ports){(uint16_t)(PORT + i), (uint16_t)(PORT + i)};
    p->mode = f->tunnel ? ESP_TUNNEL : ESP_TRANSPORT;
    p->encap = f->udp ? ESP_ENCAP_UDP : ESP_ENCAP_NONE;
    p->esn = f->esn;
    p->window = WIN_DEFAULT_BITS;
    p->transforms[0].suite = f->suite;
    p->n_transforms = 1;
    if (f->tunnel) {
        p->tunnel_local = *sim_addr(host, f->outer6, false, 0);
        p->tunnel_remote = *sim_addr(!host, f->outer6, false, 0);
    }
}

struct cfg sim_cfg(struct sim *s, int host)
{
    struct cfg c = {.testing = true,
                    .limit_sas = 256,
                    .reassembly_kb = 256,
                    .hold_packets = 64,
                    .hold_per_flow = 4};
    c.natt_port = 4500;
    c.ike_ports[0] = 500;
    c.ike_ports[1] = 4500;
    c.n_ike_ports = 2;
    snprintf(c.cards[0].name, sizeof c.cards[0].name, "c0");
    c.n_cards = 1;
    snprintf(c.interfaces[0].name, sizeof c.interfaces[0].name, "ipsec0");
    snprintf(c.interfaces[0].port, sizeof c.interfaces[0].port, "c0");
    if (s->with_standby)
        snprintf(c.interfaces[0].standby, sizeof c.interfaces[0].standby, "if:w0");
    c.n_interfaces = 1;
    c.policies = calloc(s->n_flows, sizeof *c.policies);
    c.n_policies = s->n_flows;
    for (unsigned i = 0; i < s->n_flows; i++)
        flow_policy(s, host, i, &c.policies[i]);
    return c;
}

/* --- SAs
 * ------------------------------------------------------------------------------------------------
 */

static void hex(FILE *f, const char *name, const uint8_t *p, size_t n)
{
    fprintf(f, ",\"%s\":\"", name);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%02x", p[i]);
    fprintf(f, "\"");
}

static void tell_oracle(struct sim *s, const struct flow *f, const struct sa_spec *spec)
{
    char src[IP_ADDR_STR], dst[IP_ADDR_STR];
    if (!s->sas)
        return;
    fprintf(
        s->sas,
        "%s{\"spi\":%u,\"src\":\"%s\",\"dst\":\"%s\",\"suite\":\"%s\",\"esn\":%s,\"mode\":\"%s\"",
        s->first_sa ? "{\"sas\":[\n" : ",\n", spec->spi, ip_str(&spec->src, src),
        ip_str(&spec->dst, dst), spec->suite->name, spec->esn ? "true" : "false",
        spec->mode == ESP_TUNNEL ? "tunnel" : "transport");
    fprintf(s->sas, ",\"encap\":\"%s\",\"sport\":%u,\"dport\":%u,\"policy\":\"%s\"",
            f->udp ? "udp" : "none", spec->udp_sport, spec->udp_dport, f->name);
    hex(s->sas, "encr", spec->keys.encr, spec->suite->encr_len);
    hex(s->sas, "integ", spec->keys.integ, spec->suite->integ_len);
    hex(s->sas, "salt", spec->keys.salt, spec->suite->salt_len);
    hex(s->sas, "iv_key", spec->keys.iv_key, 16);
    fprintf(s->sas, "}");
    s->first_sa = false;
}

static void random_octets(struct sim *s, uint8_t *p, size_t n)
{
    while (n--)
        *p++ = (uint8_t)rng_next(&s->rng);
}

static void add_one(struct sim *s, int host, const struct sa_spec *spec)
{
    struct sa *sa;
    int rc = engine_sa_add(s->host[host].engine, spec, s->now, &sa);
    if (rc)
        sim_fail(s, "host %d: adding SPI 0x%x: %s", host, spec->spi, strerror(-rc));
    s->host[host].next_poll = s->now;
}

static void delete_spi(struct sim *s, int host, enum esp_dir dir, uint32_t spi)
{
    struct sa *sa = sad_by_spi(engine_sad(s->host[host].engine), dir, spi);
    if (sa)
        engine_sa_delete(s->host[host].engine, sa, s->now);
}

static void pair(struct sim *s, unsigned i, int from)
{
    struct flow *f = &s->flow[i];
    int to = !from;
    uint32_t old = f->spi[from];
    struct sa_spec spec = {.spi = ++s->next_spi,
                           .mode = f->tunnel ? ESP_TUNNEL : ESP_TRANSPORT,
                           .encap = f->udp ? ESP_ENCAP_UDP : ESP_ENCAP_NONE,
                           .suite = f->suite,
                           .esn = f->esn,
                           .window = WIN_DEFAULT_BITS,
                           .udp_sport = f->udp ? 4500 : 0,
                           .udp_dport = f->udp ? 4500 : 0};
    bool six = f->tunnel ? f->outer6 : f->inner6;
    spec.src = *sim_addr(from, six, false, 0);
    spec.dst = *sim_addr(to, six, false, 0);
    random_octets(s, spec.keys.encr, f->suite->encr_len);
    random_octets(s, spec.keys.integ, f->suite->integ_len);
    random_octets(s, spec.keys.salt, f->suite->salt_len);
    random_octets(s, spec.keys.iv_key, 16);
    tell_oracle(s, f, &spec);
    spec.dir = ESP_IN;
    spec.policy_id = spd_by_name(engine_spd(s->host[to].engine), f->name)->id;
    add_one(s, to, &spec);
    spec.dir = ESP_OUT;
    spec.policy_id = spd_by_name(engine_spd(s->host[from].engine), f->name)->id;
    add_one(s, from, &spec);
    f->spi[from] = spec.spi;
    if (!old)
        return;
    delete_spi(s, from, ESP_OUT, old);
    sim_run(s, s->now + MS); /* what is on its way is still opened by the old SA */
    delete_spi(s, to, ESP_IN, old);
}

void flow_add_sas(struct sim *s, unsigned flow)
{
    for (int from = 0; from < SIM_HOSTS; from++)
        pair(s, flow, from);
}

/* --- packets
 * --------------------------------------------------------------------------------------------- */

static void grow(struct flow *f)
{
    for (int h = 0; h < SIM_HOSTS; h++) {
        uint8_t *p = realloc(f->seen[h], f->room / 4);
        memset(p + f->room / 8, 0, f->room / 8);
        f->seen[h] = p;
    }
    f->room *= 2;
}

static size_t ip_header(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst, size_t l4)
{
    if (src->family == 4) {
        memset(p, 0, 20);
        p[0] = 0x45;
        put_be16(p + 2, (uint16_t)(20 + l4));
        p[6] = 0x40;
        p[8] = 64;
        p[9] = IPP_UDP;
        memcpy(p + 12, src->b, 4);
        memcpy(p + 16, dst->b, 4);
        ip4_fix_checksum(p, 20);
        return 20;
    }
    memset(p, 0, 40);
    p[0] = 0x60;
    put_be16(p + 4, (uint16_t)l4);
    p[6] = IPP_UDP;
    p[7] = 64;
    memcpy(p + 8, src->b, 16);
    memcpy(p + 24, dst->b, 16);
    return 40;
}

void flow_send(struct sim *s, int from, unsigned i)
{
    struct flow *f = &s->flow[i];
    uint8_t frame[SIM_FRAME];
    const struct ip_addr *src = inner_addr(f, from, i), *dst = inner_addr(f, !from, i);
    size_t payload = PAYLOAD_HEAD + rng_below(&s->rng, MAX_PAYLOAD), l4 = 8 + payload;
    uint64_t serial = f->sent[from]++;
    if (serial + 1 >= f->room)
        grow(f);
    memcpy(frame, "\x02\0\0\0\0\x01\x02\0\0\0\0\x01", 12);
    put_be16(frame + 12, f->inner6 ? 0x86dd : 0x0800);
    uint8_t *udp = frame + ETH_HDR + ip_header(frame + ETH_HDR, src, dst, l4);
    put_be16(udp, (uint16_t)(PORT + i));
    put_be16(udp + 2, (uint16_t)(PORT + i));
    put_be16(udp + 4, (uint16_t)l4);
    put_be16(udp + 6, 0);
    put_be64(udp + 8, serial);
    put_be32(udp + 16, (uint32_t)payload);
    for (size_t k = PAYLOAD_HEAD; k < payload; k++)
        udp[8 + k] = (uint8_t)(serial * 7 + k);
    uint16_t sum = ip_sum_fold(ip_sum(udp, l4, ip_pseudo_sum(src, dst, IPP_UDP, l4)));
    put_be16(udp + 6, sum ? sum : 0xffff); /* 0 would mean that there is none */
    engine_from_tap(s->host[from].engine, 0, s->now, frame, (size_t)(udp - frame) + l4, NULL);
    s->host[from].next_poll = s->now;
}

void traffic_from_tap(struct sim *s, int host, const uint8_t *frame, size_t len)
{
    struct ip_info ip;
    if (len < ETH_HDR || ip_parse_packet(frame + ETH_HDR, len - ETH_HDR, &ip) ||
        ip.proto != IPP_UDP || ip.sport < PORT || ip.sport >= PORT + s->n_flows ||
        ip.total - ip.l4_off < 20)
        return; /* ICMP of ours to the host, and so on */
    struct flow *f = &s->flow[ip.sport - PORT];
    const uint8_t *udp = frame + ETH_HDR + ip.l4_off;
    uint64_t serial = get_be64(udp + 8);
    size_t payload = get_be32(udp + 16);
    int from = !host;
    bool right = payload == ip.total - ip.l4_off - 8 && serial < f->sent[from];
    for (size_t k = PAYLOAD_HEAD; right && k < payload; k++)
        right = udp[8 + k] == (uint8_t)(serial * 7 + k);
    if (!right) {
        f->strange++;
        sim_fail(s, "host %d got a datagram of %s that was not sent so", host, f->name);
        return;
    }
    if (f->seen[from][serial / 8] & 1u << serial % 8) {
        f->twice++;
        sim_fail(s, "host %d got serial %" PRIu64 " of %s twice", host, serial, f->name);
        return;
    }
    f->seen[from][serial / 8] |= (uint8_t)(1u << serial % 8);
    f->delivered[from]++;
}

static void capture(struct sim *s, const uint8_t *frame, size_t len)
{
    uint32_t head[4] = {(uint32_t)(s->now / SEC), (uint32_t)(s->now % SEC), (uint32_t)len,
                        (uint32_t)len};
    fwrite(head, sizeof head, 1, s->pcap);
    fwrite(frame, 1, len, s->pcap);
}

/* The first number of an SA is 1, the next ones rise; a counter cipher's IV is the number. The
 * offline oracle of tests/oracle opens the packets as well. */
static void judge_esp(struct sim *s, int from, const uint8_t *esp, size_t len)
{
    if (len < 16)
        return;
    uint32_t spi = get_be32(esp), number = get_be32(esp + 4);
    if (spi <= SIM_FIRST_SPI || spi > s->next_spi || spi - SIM_FIRST_SPI >= SIM_SPIS) {
        sim_fail(s, "host %d sent SPI 0x%x, which nobody made", from, spi);
        return;
    }
    uint32_t *last = &s->last_number[spi - SIM_FIRST_SPI];
    if (number <= *last)
        sim_fail(s, "host %d, SPI 0x%x: number %u after %u", from, spi, number, *last);
    *last = number;
    const struct sa *sa =
        s->host[from].engine ? sad_by_spi(engine_sad(s->host[from].engine), ESP_OUT, spi) : NULL;
    if (sa && sa->spec.suite->iv_len == 8 && get_be64(esp + 8) != number)
        sim_fail(s, "host %d, SPI 0x%x: the IV is not the number %u", from, spi, number);
}

void traffic_on_wire(struct sim *s, int from, const uint8_t *frame, size_t len)
{
    struct ip_info ip;
    s->wire_frames++;
    if (s->pcap)
        capture(s, frame, len);
    if (len < ETH_HDR || ip_parse_packet(frame + ETH_HDR, len - ETH_HDR, &ip))
        return;
    const uint8_t *l4 = frame + ETH_HDR + ip.l4_off;
    if (ip.proto == IPP_ESP)
        judge_esp(s, from, l4, ip.total - ip.l4_off);
    else if (ip.proto == IPP_UDP && ip.dport == 4500 && ip.total - ip.l4_off > 8)
        judge_esp(s, from, l4 + 8, ip.total - ip.l4_off - 8);
    else {
        s->clear_on_wire++;
        sim_fail(s, "host %d put a packet of protocol %u on the wire in clear", from, ip.proto);
    }
}

uint64_t traffic_sent(const struct sim *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n_flows; i++)
        n += s->flow[i].sent[0] + s->flow[i].sent[1];
    return n;
}

uint64_t traffic_delivered(const struct sim *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n_flows; i++)
        n += s->flow[i].delivered[0] + s->flow[i].delivered[1];
    return n;
}
