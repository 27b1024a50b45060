/* SPDX-License-Identifier: MIT */
/* See token_rules.h. Owns nothing. */
#include "broker/auth/token_rules.h"

#include "broker/alloc.h"
#include "broker/auth/acl.h"
#include "broker/auth/jwt.h"
#include "broker/store/record.h"

#include <stdlib.h>

static unsigned access_of(unsigned jwt)
{
    return (jwt & JWT_PUBLISH ? ACL_WRITE : 0) | (jwt & JWT_SUBSCRIBE ? ACL_READ : 0);
}

struct acl *token_rules_of(const struct jwt_claims *claims)
{
    size_t len = 0;
    if (!claims->has_filters)
        return NULL;
    for (size_t i = 0; i < claims->filter_count; i++)
        len += session_topic_size(span_str(claims->filters[i].filter));
    uint8_t *bytes = must_have(malloc(len + 1)), *at = bytes; /* never an empty allocation */
    for (size_t i = 0; i < claims->filter_count; i++)
        at = session_topic_put(at, access_of(claims->filters[i].access),
                               span_str(claims->filters[i].filter));
    struct acl *rules = token_rules_read(span_of(bytes, len));
    free(bytes);
    return rules;
}

static void measure(void *ctx, unsigned access, struct span filter)
{
    size_t *len = ctx;
    (void)access;
    *len += session_topic_size(filter);
}

static void put(void *ctx, unsigned access, struct span filter)
{
    uint8_t **at = ctx;
    *at = session_topic_put(*at, access, filter);
}

uint8_t *token_rules_write(const struct acl *rules, size_t *ret_len)
{
    size_t len = 0;
    acl_patterns(rules, measure, &len);
    uint8_t *bytes = must_have(malloc(len + 1)), *at = bytes; /* bounded: a token is */
    acl_patterns(rules, put, &at);
    *ret_len = len;
    return bytes;
}

struct acl *token_rules_read(struct span topics)
{
    struct acl *rules = acl_new("its token");
    struct acl_rule_source source = { .pattern = true };
    struct span rest = topics;
    while (session_topic_take(&rest, &source.access, &source.filter)) {
        source.line++;
        acl_add(rules, &source);
    }
    acl_finish(rules, topics);
    return rules;
}
