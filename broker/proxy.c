/* SPDX-License-Identifier: MIT */
/*
 * See proxy.h. Follows the specification of the PROXY protocol (haproxy.org, proxy-protocol.txt):
 *
 *     PROXY TCP4 <source> <destination> <source port> <destination port>\r\n     at most 107 bytes
 *     PROXY UNKNOWN ...\r\n
 *
 *     signature 12 | version 2, command (4 bits each) | family, transport | length 2 | addresses, TLVs
 *
 * Attributes (TLVs) are passed over. What it cannot be is refused at the first byte that differs.
 */
#include "broker/proxy.h"

enum {
    V1_MAX = 107,
    V2_HEAD = 16,
    COMMAND_LOCAL = 0x20,
    COMMAND_PROXY = 0x21,
    FAMILY_V4 = 0x11, /* over TCP */
    FAMILY_V6 = 0x21,
};

static const uint8_t v1_begins[] = { 'P', 'R', 'O', 'X', 'Y', ' ' };
static const uint8_t v2_begins[] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                     0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

/* Whether the bytes, as far as they go, begin so. */
static bool may_begin(struct span bytes, const uint8_t *signature, size_t len)
{
    return memcmp(bytes.data, signature, bytes.len < len ? bytes.len : len) == 0;
}

/* ---- version 1 ---- */

static struct span next_word(struct span *line)
{
    const uint8_t *blank = line->len ? memchr(line->data, ' ', line->len) : NULL;
    size_t len = blank ? (size_t)(blank - line->data) : line->len;
    struct span word = span_of(line->data, len);
    len += blank != NULL;
    *line = span_of(line->data + len, line->len - len);
    return word;
}

static bool parse_port(struct span word, uint16_t *ret_port)
{
    unsigned long port = 0;
    if (word.len == 0 || word.len > 5 || (word.len > 1 && word.data[0] == '0'))
        return false;
    for (size_t i = 0; i < word.len; i++) {
        if (word.data[i] < '0' || word.data[i] > '9')
            return false;
        port = port * 10 + (unsigned long)(word.data[i] - '0');
    }
    *ret_port = (uint16_t)port;
    return port <= 65535;
}

static bool is_v6(struct span word)
{
    return memchr(word.data, ':', word.len) != NULL;
}

/* The line without its end, behind "PROXY ". */
static bool parse_line(struct span line, struct proxy_header *header)
{
    struct span family = next_word(&line);
    bool six = span_equal(family, span_str("TCP6"));
    struct address to;
    uint16_t to_port;
    if (span_equal(family, span_str("UNKNOWN")))
        return true; /* whatever follows */
    if (!six && !span_equal(family, span_str("TCP4")))
        return false;
    struct span from = next_word(&line), there = next_word(&line), port = next_word(&line);
    header->known = true;
    return from.len && there.len && is_v6(from) == six && is_v6(there) == six &&
           address_parse(from, &header->from) && address_parse(there, &to) &&
           parse_port(port, &header->port) && parse_port(line, &to_port);
}

static enum proxy_status parse_v1(struct span bytes, struct proxy_header *header)
{
    const uint8_t *end = memchr(bytes.data, '\n', bytes.len < V1_MAX ? bytes.len : V1_MAX);
    if (!end)
        return bytes.len < V1_MAX ? PROXY_MORE : PROXY_BAD;
    header->len = (size_t)(end - bytes.data) + 1;
    struct span line = span_of(bytes.data + sizeof v1_begins, header->len - sizeof v1_begins);
    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return PROXY_BAD;
    line.len -= 2;
    return parse_line(line, header) ? PROXY_DONE : PROXY_BAD;
}

/* ---- version 2 ---- */

static uint16_t number_at(struct span bytes, size_t at)
{
    return (uint16_t)(bytes.data[at] << 8 | bytes.data[at + 1]);
}

/* The addresses; other families than TCP over IP say nothing that we could use. */
static bool parse_addresses(uint8_t family, struct span rest, struct proxy_header *header)
{
    size_t size = family == FAMILY_V4 ? 4 : 16;
    if (family != FAMILY_V4 && family != FAMILY_V6)
        return true;
    if (rest.len < 2 * size + 4)
        return false;
    header->known = true;
    if (family == FAMILY_V4)
        header->from = address_v4(rest.data);
    else
        memcpy(header->from.bytes, rest.data, size);
    header->port = number_at(rest, 2 * size);
    return true;
}

static enum proxy_status parse_v2(struct span bytes, struct proxy_header *header)
{
    if (bytes.len > 12 && bytes.data[12] != COMMAND_LOCAL && bytes.data[12] != COMMAND_PROXY)
        return PROXY_BAD;
    if (bytes.len < V2_HEAD)
        return PROXY_MORE;
    size_t rest = number_at(bytes, 14);
    header->len = V2_HEAD + rest;
    if (header->len > PROXY_HEADER_MAX)
        return PROXY_BAD;
    if (bytes.len < header->len)
        return PROXY_MORE;
    bool fits = bytes.data[12] == COMMAND_LOCAL ||
                parse_addresses(bytes.data[13], span_of(bytes.data + V2_HEAD, rest), header);
    return fits ? PROXY_DONE : PROXY_BAD;
}

enum proxy_status proxy_parse(struct span bytes, unsigned versions, struct proxy_header *ret_header)
{
    struct proxy_header header = { 0 };
    enum proxy_status status = PROXY_BAD;
    if (bytes.len == 0)
        return PROXY_MORE;
    if (versions & PROXY_V1 && may_begin(bytes, v1_begins, sizeof v1_begins))
        status = bytes.len < sizeof v1_begins ? PROXY_MORE : parse_v1(bytes, &header);
    else if (versions & PROXY_V2 && may_begin(bytes, v2_begins, sizeof v2_begins))
        status = bytes.len < sizeof v2_begins ? PROXY_MORE : parse_v2(bytes, &header);
    if (status == PROXY_DONE)
        *ret_header = header;
    return status;
}
