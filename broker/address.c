/* SPDX-License-Identifier: MIT */
/* See address.h. Owns nothing. */
#include "broker/address.h"

enum { GROUPS = 8, V4_AT = 12 };

struct address address_v4(const uint8_t bytes[4])
{
    struct address address = { .bytes = { [10] = 0xff, [11] = 0xff } };
    memcpy(address.bytes + V4_AT, bytes, 4);
    return address;
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* A decimal number up to `most`, without a leading zero, off the front of the text. */
static bool take_decimal(struct span *text, unsigned most, unsigned *ret_number)
{
    unsigned number = 0;
    size_t len = 0;
    while (len < text->len && len < 4 && is_digit(text->data[len]))
        number = number * 10 + (unsigned)(text->data[len++] - '0');
    if (len == 0 || len > 3 || number > most || (len > 1 && text->data[0] == '0'))
        return false;
    *text = span_of(text->data + len, text->len - len);
    *ret_number = number;
    return true;
}

static bool take_byte(struct span *text, char byte)
{
    if (text->len == 0 || text->data[0] != (uint8_t)byte)
        return false;
    *text = span_of(text->data + 1, text->len - 1);
    return true;
}

static bool parse_v4(struct span text, uint8_t out[4])
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned number;
        if ((i > 0 && !take_byte(&text, '.')) || !take_decimal(&text, 255, &number))
            return false;
        out[i] = (uint8_t)number;
    }
    return text.len == 0;
}

static int hex_value(uint8_t byte)
{
    if (is_digit(byte))
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* One to four hexadecimal digits. */
static bool take_group(struct span *text, uint8_t out[2])
{
    unsigned number = 0;
    size_t len = 0;
    while (len < text->len && len < 4 && hex_value(text->data[len]) >= 0)
        number = number << 4 | (unsigned)hex_value(text->data[len++]);
    if (len == 0)
        return false;
    *text = span_of(text->data + len, text->len - len);
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
    return true;
}

/* Groups up to the end or to "::"; the last two may be IPv4. Returns how many, -1: it is none. */
static int take_groups(struct span *text, uint8_t out[16], unsigned room)
{
    unsigned count = 0;
    while (text->len > 0 && count < room) {
        if (count > 0 && !take_byte(text, ':'))
            return -1;
        if (count > 0 && text->len > 0 && text->data[0] == ':')
            return (int)count; /* the second colon of "::" is left */
        if (room - count >= 2 && parse_v4(*text, out + count * 2)) {
            text->len = 0;
            return (int)count + 2;
        }
        if (!take_group(text, out + count * 2))
            return -1;
        count++;
    }
    return (int)count;
}

static bool parse_v6(struct span text, struct address *ret_address)
{
    uint8_t front[16] = { 0 }, back[16] = { 0 };
    int before = 0, after = 0;
    bool gap = text.len >= 2 && text.data[0] == ':' && text.data[1] == ':';
    if (gap)
        text = span_of(text.data + 2, text.len - 2);
    else if ((before = take_groups(&text, front, GROUPS)) < 0)
        return false;
    if (!gap && before < GROUPS)
        gap = take_byte(&text, ':');
    if (gap && text.len > 0 && (after = take_groups(&text, back, GROUPS - 1)) < 0)
        return false;
    if (text.len > 0 || (gap ? before + after > GROUPS - 1 : before != GROUPS))
        return false;
    struct address address = { 0 };
    memcpy(address.bytes, front, (size_t)before * 2);
    memcpy(address.bytes + 16 - after * 2, back, (size_t)after * 2);
    *ret_address = address;
    return true;
}

bool address_parse(struct span text, struct address *ret_address)
{
    uint8_t four[4];
    if (parse_v4(text, four)) {
        *ret_address = address_v4(four);
        return true;
    }
    return parse_v6(text, ret_address);
}

/* ---- networks ---- */

static bool is_separator(uint8_t byte)
{
    return byte == ',' || byte == ' ' || byte == '\t';
}

static bool network_parse(struct span text, struct network *ret_network)
{
    const uint8_t *slash = text.len ? memchr(text.data, '/', text.len) : NULL;
    struct span address = span_of(text.data, slash ? (size_t)(slash - text.data) : text.len);
    struct network network = { .bits = 128 };
    uint8_t four[4];
    unsigned bits, most = parse_v4(address, four) ? 32 : 128;
    if (!address_parse(address, &network.base))
        return false;
    if (slash) {
        struct span rest = span_of(slash + 1, text.len - address.len - 1);
        if (!take_decimal(&rest, most, &bits) || rest.len > 0)
            return false;
        network.bits = (uint8_t)(128 - most + bits);
    }
    *ret_network = network;
    return true;
}

bool networks_parse(struct span text, struct networks *ret_networks, struct span *ret_bad)
{
    struct networks networks = { 0 };
    while (text.len > 0) {
        size_t len = 0;
        while (len < text.len && !is_separator(text.data[len]))
            len++;
        struct span word = span_of(text.data, len);
        if (len > 0 && (networks.count == NETWORKS_MAX ||
                        !network_parse(word, &networks.at[networks.count++]))) {
            *ret_bad = word;
            return false;
        }
        len += len < text.len; /* the separator */
        text = span_of(text.data + len, text.len - len);
    }
    *ret_networks = networks;
    return true;
}

static bool network_has(const struct network *network, const struct address *address)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->base.bytes, address->bytes, whole) != 0)
        return false;
    unsigned mask = 0xffu << (8 - rest) & 0xffu;
    return rest == 0 || ((network->base.bytes[whole] ^ address->bytes[whole]) & mask) == 0;
}

bool networks_have(const struct networks *networks, const struct address *address)
{
    for (unsigned i = 0; i < networks->count; i++)
        if (network_has(&networks->at[i], address))
            return true;
    return false;
}

bool networks_forwarded(const struct networks *trusted, struct span header,
                        struct address *ret_client)
{
    struct address address;
    size_t end = header.len;
    while (end > 0) {
        while (end > 0 && is_separator(header.data[end - 1]))
            end--;
        size_t begin = end;
        while (begin > 0 && !is_separator(header.data[begin - 1]))
            begin--;
        if (begin == end || !address_parse(span_of(header.data + begin, end - begin), &address))
            return false;
        if (!networks_have(trusted, &address)) {
            *ret_client = address;
            return true;
        }
        end = begin;
    }
    return false;
}
