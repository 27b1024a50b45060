/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the header of a proxy: what is one at some length is the same one with more behind
 * it, and asked for more at every shorter one. The same bytes as addresses, networks, and a header
 * X-Forwarded-For. Pure.
 */
#include <stdint.h>
#include <stdlib.h>

#include "broker/err.h"
#include "broker/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(struct span bytes, unsigned versions)
{
    struct proxy_header whole = { 0 }, part;
    enum proxy_status status = proxy_parse(bytes, versions, &whole);
    size_t end = status == PROXY_DONE ? whole.len : bytes.len;
    CHECK(end <= bytes.len && end <= PROXY_HEADER_MAX + (status != PROXY_DONE) * bytes.len);
    if (status == PROXY_BAD)
        return;
    for (size_t len = 0; len < end; len++)
        CHECK(proxy_parse(span_of(bytes.data, len), versions, &part) == PROXY_MORE);
    if (status == PROXY_DONE)
        CHECK(proxy_parse(span_of(bytes.data, end), versions, &part) == PROXY_DONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span bytes = span_of(data, size), wrong;
    struct networks networks;
    struct address client;
    if (size > 2048)
        return 0;
    for (unsigned versions = 1; versions <= 3; versions++)
        check_header(bytes, versions);
    if (networks_parse(bytes, &networks, &wrong)) {
        CHECK(networks.count <= NETWORKS_MAX);
        for (unsigned i = 0; i < networks.count; i++)
            CHECK(networks_have(&networks, &networks.at[i].base));
        CHECK(networks.count == 0 || !networks_forwarded(&networks, bytes, &client) ||
              !networks_have(&networks, &client));
    }
    return 0;
}
