/* SPDX-License-Identifier: MIT */
/* See crc32c.h. Owns its tables, which are made once; any thread. */
#include "broker/store/crc32c.h"

#include <pthread.h>
#include <stdbool.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

enum { SLICES = 8, POLYNOMIAL_HIGH = 0x82F6, POLYNOMIAL_LOW = 0x3B78 };

static uint32_t tables[SLICES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    const uint32_t polynomial = (uint32_t)POLYNOMIAL_HIGH << 16 | POLYNOMIAL_LOW;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
        tables[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < SLICES; slice++)
            tables[slice][i] = tables[slice - 1][i] >> 8 ^ tables[0][tables[slice - 1][i] & 0xFF];
}

/* Eight bytes a step; the bytes are put together by hand, so that their order is the same on every
 * machine. */
uint32_t crc32c_by_table(uint32_t crc, struct span bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;
    pthread_once(&once, make_tables);
    crc = ~crc;
    for (; left >= SLICES; left -= SLICES, at += SLICES) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
               (uint32_t)at[3] << 24;
        crc = tables[7][crc & 0xFF] ^ tables[6][crc >> 8 & 0xFF] ^ tables[5][crc >> 16 & 0xFF] ^
              tables[4][crc >> 24] ^ tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^
              tables[0][at[7]];
    }
    for (; left > 0; left--, at++)
        crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, struct span bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.len;
    uint64_t sum = ~crc;
    for (; left >= sizeof sum; left -= sizeof sum, at += sizeof sum) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        sum = _mm_crc32_u64(sum, word);
    }
    for (; left > 0; left--, at++)
        sum = _mm_crc32_u8((uint32_t)sum, *at);
    return ~(uint32_t)sum;
}

uint32_t crc32c(uint32_t crc, struct span bytes)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(crc, bytes)
                                            : crc32c_by_table(crc, bytes);
}
#else
uint32_t crc32c(uint32_t crc, struct span bytes)
{
    return crc32c_by_table(crc, bytes);
}
#endif
