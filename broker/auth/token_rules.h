/* SPDX-License-Identifier: MIT */
/*
 * What a token says of topics, as rules, and those rules as bytes: a session keeps them when the
 * broker is started anew, so that neither what waits for its client nor its will is ever judged by
 * rules that allow more. Pure; any thread.
 */
#pragma once

#include "mqtt/span.h"

struct acl;
struct jwt_claims;

/* NULL: the token says nothing of topics. %u and %c mean in its filters what they mean in a pattern.
 * Aborts without memory. */
struct acl *token_rules_of(const struct jwt_claims *claims);

/* The same as bytes (session_record.topics), to be freed; and back. What is read must be valid. */
uint8_t *token_rules_write(const struct acl *rules, size_t *ret_len);
struct acl *token_rules_read(struct span topics);
