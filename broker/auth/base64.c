/* SPDX-License-Identifier: MIT */
/*
 * See base64.h. Strict, where OpenSSL's decoder skips blanks and takes padding anywhere: two texts
 * of the same value would be two ways to write one token.
 */
#include "broker/auth/base64.h"

static const char alphabets[][65] = {
    [BASE64_PADDED] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [BASE64_UNPADDED] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    [BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

static int digit_of(enum base64_style style, uint8_t byte)
{
    const char *at = byte ? strchr(alphabets[style], byte) : NULL;
    return at ? (int)(at - alphabets[style]) : -1;
}

/* Takes the padding off; false when there is not as much as there must be. */
static bool unpad(struct span *text)
{
    if (text->len % 4 != 0)
        return false;
    for (int i = 0; i < 2 && text->len > 0 && text->data[text->len - 1] == '='; i++)
        text->len--;
    return true;
}

bool base64_decode(enum base64_style style, struct span text, uint8_t *out, size_t room,
                   size_t *ret_len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t len = 0;
    if (style == BASE64_PADDED && !unpad(&text))
        return false;
    if (text.len % 4 == 1 || text.len / 4 * 3 + text.len % 4 * 3 / 4 > room)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(style, text.data[i]);
        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        out[len++] = (uint8_t)(bits >> held);
    }
    if (bits & ((1u << held) - 1)) /* bits that nothing was made of */
        return false;
    *ret_len = len;
    return true;
}

size_t base64_encode(enum base64_style style, struct span bytes, char *out)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t len = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | bytes.data[i];
        for (held += 8; held >= 6; held -= 6)
            out[len++] = alphabets[style][bits >> (held - 6) & 63];
    }
    if (held)
        out[len++] = alphabets[style][bits << (6 - held) & 63];
    while (style == BASE64_PADDED && len % 4)
        out[len++] = '=';
    out[len] = '\0';
    return len;
}
