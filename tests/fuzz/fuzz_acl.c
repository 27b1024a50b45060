/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as an acl_file, and any names, topic and filter asked about: the file is read or named
 * as wrong on lines of printable text, and what is said about a filter holds for a topic that it
 * matches. Input: topic, NUL, filter, NUL, user, NUL, client identifier, NUL, file. Reads no file;
 * one thread.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/auth/acl.h"
#include "broker/auth/acl_file.h"
#include "broker/err.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cuts off what stands before the next NUL. */
static struct span cut(struct span *rest)
{
    const uint8_t *nul = rest->len ? memchr(rest->data, 0, rest->len) : NULL;
    struct span part = span_of(rest->data, nul ? (size_t)(nul - rest->data) : rest->len);
    *rest = nul ? span_of(nul + 1, rest->len - part.len - 1) : span_of(rest->data + rest->len, 0);
    return part;
}

static void check_filter(const struct acl *acl, const struct acl_client *client, struct span topic,
                         struct span filter)
{
    for (enum acl_access access = ACL_READ; access <= ACL_WRITE; access++) {
        struct acl_refusal why;
        bool allowed = acl_allows(acl, client, access, topic);
        CHECK(acl_allows_or_why(acl, client, access, topic, &why) == allowed);
        enum acl_verdict verdict = acl_allows_filter(acl, client, access, filter);
        if (!mqtt_filter_matches(filter, topic))
            continue;
        CHECK(verdict != ACL_EVERYTHING || allowed);
        CHECK(verdict != ACL_NOTHING || !allowed);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problems problems = { 0 };
    char line[PROBLEM_TEXT_MAX + 64];
    struct span rest = span_of(data, size), group;
    struct span topic = cut(&rest), filter = cut(&rest);
    struct acl_client client = { .user = cut(&rest), .client_id = cut(&rest) };
    if (client.user.len == 0)
        client.user.data = NULL;
    struct acl *acl = acl_file_parse((const char *)rest.data, rest.len, "fuzz.acl", &problems);
    CHECK((acl == NULL) == (problems.errors > 0));
    for (size_t i = 0; i < problems.count; i++) {
        problem_line(&problems.list[i], line, sizeof line);
        CHECK(log_is_printable(line, strlen(line)));
    }
    if (acl && mqtt_utf8_valid(topic) && mqtt_topic_name_valid(topic) && mqtt_utf8_valid(filter) &&
        mqtt_topic_filter_valid(filter) && !mqtt_share_split(filter, &group, &filter))
        check_filter(acl, &client, topic, filter);
    acl_unref(acl);
    problems_done(&problems);
    return 0;
}
