/* SPDX-License-Identifier: MIT */
/*
 * Topic names and topic filters as text: what is valid, what matches what (MQTT 5.0, section 4.7).
 * Matching a topic against many filters is the topic tree's (mqtt/tree.h).
 */
#pragma once

#include "mqtt/span.h"

/*
 * Well-formed UTF-8 as MQTT wants it: no U+0000, no surrogate, nothing overlong or above U+10FFFF
 * [MQTT5-1.5.4-1, -2].
 */
bool mqtt_utf8_valid(struct span text);

/* More levels are refused: bounds the work of a match (mosquitto's figure). */
enum { MQTT_TOPIC_LEVELS_MAX = 200 };

/*
 * Both expect valid UTF-8. At least one character, at most 65,535 bytes, at most
 * MQTT_TOPIC_LEVELS_MAX levels.
 */
bool mqtt_topic_name_valid(struct span topic); /* no wildcard [MQTT5-3.3.2-2] */
/* '#' last, '+' and '#' alone in their level [MQTT5-4.7.1-1, -2]; $share/name/filter as well. */
bool mqtt_topic_filter_valid(struct span filter);

/*
 * Splits "$share/name/filter". Returns true when the filter is shared; the parts are written only
 * then. Expects a valid filter.
 */
bool mqtt_share_split(struct span filter, struct span *ret_name, struct span *ret_filter);

bool mqtt_filter_has_wildcard(struct span filter);

/*
 * Whether a valid filter (without $share) matches a valid topic name, '$' rule included
 * [MQTT5-4.7.2-1].
 */
bool mqtt_filter_matches(struct span filter, struct span topic);
