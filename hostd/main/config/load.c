/* Files in, errors out: see config_load.h. */
#include "hostd/main/config/read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only a regular file: a FIFO or device would hold the daemon up. */
static int open_regular(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    int err = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        err = -errno;
    else if (!S_ISREG(st.st_mode))
        err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

static int read_file(void *ctx, const char *path, char **data, size_t *len)
{
    const size_t room = CFG_FILE_MAX + 1;
    int fd = open_regular(path);
    ssize_t n = 1;
    int err = 0;

    if (fd < 0)
        return fd;
    *len = 0;
    *data = malloc(room);
    while (*data && n > 0 && *len < room) {
        n = read(fd, *data + *len, room - *len);
        if (n > 0)
            *len += (size_t)n;
    }
    err = !*data ? -ENOMEM : n < 0 ? -errno : 0;
    close(fd);
    if (err) {
        free(*data);
        *data = NULL;
    }
    return err;
}

/* Takes data. NULL without memory. */
static struct source *add_source(struct loader *l, const char *name, char *data, size_t len)
{
    struct source *s = calloc(1, sizeof *s);
    char *grown = s ? realloc(data, len + 1) : NULL;

    if (!grown) {
        free(s);
        free(data);
        return NULL;
    }
    grown[len] = '\0';
    s->data = grown;
    s->len = len;
    s->no = l->n_sources;
    snprintf(s->name, sizeof s->name, "%s", name);
    l->sources[l->n_sources++] = s;
    return s;
}

static void load_file(struct loader *l, const char *path, const struct yn *named, unsigned depth);

/* Joins the name of an included file to the folder of the file that names it. */
static int join(const struct source *from, const char *name, char *out, size_t room)
{
    const char *slash = strrchr(from->name, '/');
    int dir = slash && name[0] != '/' ? (int)(slash - from->name + 1) : 0;
    int n;

    while (strncmp(name, "./", 2) == 0)
        name += 2;
    n = snprintf(out, room, "%.*s%s", dir, from->name, name);
    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

static void include_error(struct loader *l, const struct yn *name, const char *what,
                          const char *remedy)
{
    report_add(&l->report, name->src, name->off, "include: %s", what);
    report_remedy(&l->report, "%s", remedy);
}

static void include_file(struct loader *l, const struct yn *name, unsigned depth)
{
    char path[SOURCE_NAME];

    if (join(name->src, name->text, path, sizeof path)) {
        include_error(l, name, "the name is too long", "write a shorter path");
        return;
    }
    for (unsigned i = 0; i < l->n_sources; i++) {
        if (strcmp(l->sources[i]->name, path) == 0) {
            include_error(l, name, "this file is read already", "name every file once");
            return;
        }
    }
    if (depth + 1 > CFG_INCLUDE_DEPTH || l->n_sources == CFG_FILES_MAX)
        include_error(l, name,
                      depth + 1 > CFG_INCLUDE_DEPTH ? "files include files too deep"
                                                    : "there are too many files",
                      "name the files in the first file, and not more than 63");
    else
        load_file(l, path, name, depth + 1);
}

static void cannot_read(struct loader *l, const char *path, const struct yn *named, int err)
{
    report_add(&l->report, named ? named->src : NULL, named ? named->off : 0,
               "%.200s cannot be read: %s", path, strerror(-err));
    report_remedy(&l->report, "see that the file exists and may be read: ls -l %.200s", path);
}

static void load_file(struct loader *l, const char *path, const struct yn *named, unsigned depth)
{
    char *data = NULL;
    size_t len = 0;
    int err = l->read(l->ctx, path, &data, &len);
    struct source *src = err ? NULL : add_source(l, path, data, len);
    struct yn *top;

    if (!src) {
        l->incomplete = true;
        cannot_read(l, path, named, err ? err : -ENOMEM);
        return;
    }
    top = yaml_parse(&l->report, &l->arena, src);
    if (top)
        read_top(l, top, depth, include_file);
    else
        l->incomplete = true;
}

static void free_loader(struct loader *l)
{
    for (unsigned i = 0; i < l->n_sources; i++) {
        free(l->sources[i]->data);
        free(l->sources[i]);
    }
    arena_free(&l->arena);
    free(l->report.list);
    free(l);
}

static struct loader *new_loader(void)
{
    struct loader *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->report.list = calloc(CFG_ERRORS_MAX, sizeof *l->report.list);
    if (!l->report.list) {
        free(l);
        return NULL;
    }
    return l;
}

int cfg_load_with(cfg_reader read, void *ctx, const char *path, struct cfg *out, FILE *errors)
{
    struct loader *l = new_loader();
    int n;

    memset(out, 0, sizeof *out);
    if (!l) {
        if (errors)
            fprintf(errors, "%s: there is no memory to read it\n  remedy: free memory\n", path);
        return 1;
    }
    l->read = read;
    l->ctx = ctx;
    load_file(l, path, NULL, 0);
    if (read_missing(l) || cross_check(l, out)) {
        report_add(&l->report, NULL, 0, "%.200s: there is no memory to read it", path);
        report_remedy(&l->report, "free memory, or make the configuration smaller");
    }
    n = (int)l->report.n;
    if (errors)
        report_print(&l->report, errors);
    if (n)
        cfg_free(out);
    free_loader(l);
    return n;
}

int cfg_load(const char *path, struct cfg *out, FILE *errors)
{
    return cfg_load_with(read_file, NULL, path, out, errors);
}
