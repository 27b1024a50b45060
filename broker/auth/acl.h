/* SPDX-License-Identifier: MIT */
/*
 * Who may read and write which topics: a set of rules, as an acl_file of mosquitto says them, made
 * once, immutable afterwards and counted. It answers two questions: about one topic, and about all
 * that a filter matches at once, so that a subscription is looked at once and not each message.
 *
 *     rules of the user (or of clients without one)    deny ─► allow ─►┐ not decided
 *     patterns, for everybody                          deny ─► allow ─►┘─► denied
 *
 * Any thread may ask; nothing here allocates when it is asked, but for a set with many rules.
 */
#pragma once

#include "mqtt/span.h"

#include <stdint.h>

struct acl;

enum acl_access { ACL_DENY = 0, ACL_READ = 1, ACL_WRITE = 2 }; /* bits */

enum acl_verdict { ACL_NOTHING, ACL_SOME, ACL_EVERYTHING }; /* of what a filter matches */

/* Who asks. What is NULL is not there: a client without a user name has the rules that stand before
 * the first user. An empty name has its data set. */
struct acl_client {
    struct span user, client_id;
};

/* ---- making: one thread, before anybody asks ---- */

struct acl_rule_source {
    bool pattern;       /* for everybody, with %u and %c */
    struct span user;   /* whose rule; data NULL: of clients without a user name */
    struct span filter; /* valid, without $share; copied */
    unsigned access;    /* OR of enum acl_access; ACL_DENY goes before all others */
    unsigned line;      /* where it stands */
};

struct acl *acl_new(const char *name); /* of the file, for messages; aborts without memory */
void acl_add(struct acl *acl, const struct acl_rule_source *source); /* the same */
/* Whatever tells two sets apart, such as the text of the file: acl_same() compares it. */
void acl_finish(struct acl *acl, struct span text);

struct acl *acl_ref(struct acl *acl); /* returns its argument; NULL is fine */
void acl_unref(struct acl *acl);      /* the last one frees; NULL is fine */

/* ---- asking; without rules (NULL) everything is allowed ---- */

bool acl_allows(const struct acl *acl, const struct acl_client *client, enum acl_access access,
                struct span topic);
/* The same, and why not: the line of the rule that denies it and its filter (owned by the rules);
 * line 0 when no rule allows it. */
struct acl_refusal {
    const char *name;
    unsigned line;
    struct span filter;
};
bool acl_allows_or_why(const struct acl *acl, const struct acl_client *client,
                       enum acl_access access, struct span topic, struct acl_refusal *ret_why);

/* ACL_EVERYTHING and ACL_NOTHING are certain; ACL_SOME says that each topic must be asked about. */
enum acl_verdict acl_allows_filter(const struct acl *acl, const struct acl_client *client,
                                   enum acl_access access, struct span filter);

/* Each pattern of a set, in the order of their lines. */
typedef void acl_pattern_fn(void *ctx, unsigned access, struct span filter);
void acl_patterns(const struct acl *acl, acl_pattern_fn *fn, void *ctx);

/* Whether two sets (each may be NULL) are made from the same text. */
bool acl_same(const struct acl *a, const struct acl *b);
