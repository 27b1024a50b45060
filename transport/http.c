/* SPDX-License-Identifier: MIT */
/*
 * The little HTTP there is before a WebSocket begins. libwebsockets would answer an upgrade
 * without a fitting sub-protocol by just closing; a person who debugs a web page is told more
 * here. Owns nothing; the loop's thread.
 */
#include "transport/http.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <libwebsockets.h>

/* libwebsockets itself keeps at most so much of the header (server-ws.c), so a longer one would be
 * cut. */
#define PROTOCOL_HEADER_MAX 127
#define ORIGIN_MAX          511

static bool token_is(const char *token, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(token, name, len) == 0;
}

bool http_offers_mqtt(const char *header)
{
    while (*header) {
        header += strspn(header, ", \t");
        size_t len = strcspn(header, ", \t");
        if (token_is(header, len, "mqtt") || token_is(header, len, "mqttv3.1"))
            return true;
        header += len;
    }
    return false;
}

bool http_is_listed(const char *list, const char *word)
{
    while (*list) {
        list += strspn(list, " ");
        size_t len = strcspn(list, " ");
        if (len == strlen(word) && strncasecmp(list, word, len) == 0)
            return true;
        list += len;
    }
    return false;
}

/* `extra` are whole header lines. */
static void answer(struct lws *wsi, const char *status, const char *extra, const char *text)
{
    uint8_t buf[LWS_PRE + 768];
    char *start = (char *)buf + LWS_PRE;
    int len = snprintf(start, sizeof buf - LWS_PRE,
                       "HTTP/1.1 %s\r\n"
                       "Connection: close\r\n"
                       "%s"
                       "Content-Type: text/plain; charset=utf-8\r\n"
                       "Content-Length: %zu\r\n"
                       "\r\n"
                       "%s",
                       status, extra, strlen(text), text);
    /* Whether it arrives or not, the connection is closed next. */
    if (len > 0 && (size_t)len < sizeof buf - LWS_PRE)
        (void)lws_write(wsi, (uint8_t *)start, (size_t)len, LWS_WRITE_HTTP_HEADERS);
}

void http_refuse_request(struct lws *wsi)
{
    answer(wsi, "426 Upgrade Required", "Upgrade: websocket\r\n",
           "This port speaks MQTT over WebSocket (sub-protocol mqtt) and serves nothing else.\n");
}

/* A page that may not connect. Who sends no origin is no browser, and could send any. */
static bool origin_allowed(struct lws *wsi, const char *allowed)
{
    char origin[ORIGIN_MAX + 1] = "";
    if (!allowed || lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) <= 0)
        return true;
    return lws_hdr_copy(wsi, origin, sizeof origin, WSI_TOKEN_ORIGIN) > 0 &&
           http_is_listed(allowed, origin);
}

const char *http_check_upgrade(struct lws *wsi, const char *origins)
{
    char upgrade[32] = "", version[8] = "", protocols[PROTOCOL_HEADER_MAX + 1] = "";
    /* A header that is absent leaves the text empty, one that is too long is an error. */
    if (lws_hdr_copy(wsi, upgrade, sizeof upgrade, WSI_TOKEN_UPGRADE) < 0 ||
        strcasecmp(upgrade, "websocket") != 0) {
        http_refuse_request(wsi);
        return "asks for no WebSocket";
    }
    if (lws_hdr_copy(wsi, version, sizeof version, WSI_TOKEN_VERSION) < 0 ||
        strcmp(version, "13") != 0) {
        answer(wsi, "426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
               "WebSocket version 13 is needed.\n");
        return "asks for an old version of WebSocket";
    }
    if (lws_hdr_copy(wsi, protocols, sizeof protocols, WSI_TOKEN_PROTOCOL) < 0 ||
        !http_offers_mqtt(protocols)) {
        answer(wsi, "400 Bad Request", "",
               "Ask for the WebSocket sub-protocol mqtt (or mqttv3.1), in a short list.\n");
        return "does not ask for the sub-protocol mqtt";
    }
    if (!origin_allowed(wsi, origins)) {
        answer(wsi, "403 Forbidden", "", "Pages from there may not connect (websockets_origin).\n");
        return "its page may not connect (websockets_origin)";
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_KEY) <= 0) {
        answer(wsi, "400 Bad Request", "", "The header Sec-WebSocket-Key is missing.\n");
        return "sends no Sec-WebSocket-Key";
    }
    return NULL;
}
