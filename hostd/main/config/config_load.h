/* The configuration file: YAML read, checked and turned into struct cfg (design, section 7). */
#ifndef SALLYPORT_CONFIG_LOAD_H
#define SALLYPORT_CONFIG_LOAD_H

#include "hostd/base/config.h"

#include <stddef.h>
#include <stdio.h>

enum {
    CFG_FILE_MAX = 1 << 20, /* octets of one file */
    CFG_FILES_MAX = 64,     /* files of one configuration */
    CFG_INCLUDE_DEPTH = 8,  /* includes within includes */
    CFG_ERRORS_MAX = 100    /* what is over is not looked for */
};

/* Reads path and what it includes. 0 and a complete *out, which the caller frees with cfg_free; or
 * the number of errors (> 0), each written to errors (may be NULL) in the order of the files as
 *     FILE:LINE:COLUMN: what is wrong
 *     the line
 *           ^
 *       remedy: what to write
 * and *out is empty. A file that is not YAML ends with its first error. Lines and columns count
 * from 1, columns in characters. Log: nothing. */
int cfg_load(const char *path, struct cfg *out, FILE *errors);

/* How files come in, for tests and fuzzing: *data is malloc'd and becomes the loader's; at most
 * CFG_FILE_MAX + 1 octets need be read. 0 or -errno. */
typedef int (*cfg_reader)(void *ctx, const char *path, char **data, size_t *len);
int cfg_load_with(cfg_reader read, void *ctx, const char *path, struct cfg *out, FILE *errors);

#endif
