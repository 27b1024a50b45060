/* SPDX-License-Identifier: MIT */
/*
 * CRC32C (Castagnoli), the checksum of every stored row: what LMDB does not have. By the
 * processor's instruction where there is one. Pure, any thread.
 */
#pragma once

#include "mqtt/span.h"

/* Continues `crc` (0 at the beginning) over the bytes. */
uint32_t crc32c(uint32_t crc, struct span bytes);
/* The same by tables, for the test that both agree. */
uint32_t crc32c_by_table(uint32_t crc, struct span bytes);
