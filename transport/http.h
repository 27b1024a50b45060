/* SPDX-License-Identifier: MIT */
/*
 * The little HTTP there is before a WebSocket begins: what an upgrade must ask for, and short
 * answers to all else, after which the connection is closed. Runs inside callbacks of
 * libwebsockets on the loop's thread.
 */
#pragma once

#include <stdbool.h>

struct lws;

/* Whether a Sec-WebSocket-Protocol header (a list with commas) names "mqtt" or "mqttv3.1". */
bool http_offers_mqtt(const char *header);

/* Whether a word is in a list with blanks, whatever the case. */
bool http_is_listed(const char *list, const char *word);

/* NULL: the upgrade that is asked for may go on. Else it has been answered and is to be closed, and
 * this is why, a literal. `origins`: of the pages that may connect, NULL: any. */
const char *http_check_upgrade(struct lws *wsi, const char *origins);

/* Answers a request that is none for an upgrade; it is to be closed. */
void http_refuse_request(struct lws *wsi);
