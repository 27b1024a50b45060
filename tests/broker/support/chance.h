/* SPDX-License-Identifier: MIT */
/* Choices that a seed makes, the same on every machine. Each test holds its own state. */
#pragma once

#include <stdint.h>

struct chance {
    uint64_t state;
};

static inline struct chance chance_of(unsigned seed)
{
    return (struct chance){ 0x9E3779B97F4A7C15u * (seed + 1) };
}

/* 0 to choices - 1 */
static inline unsigned chance_pick(struct chance *chance, unsigned choices)
{
    chance->state ^= chance->state << 13;
    chance->state ^= chance->state >> 7;
    chance->state ^= chance->state << 17;
    return (unsigned)(chance->state >> 32) % choices;
}
