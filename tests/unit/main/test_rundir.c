/* The run-time folder: one daemon each, a socket for the right people, a log file a day. */
#include "hostd/main/rundir.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[RUNDIR_PATH];

static int setup(void **state)
{
    strcpy(dir, "/tmp/sp-rundir-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+w %s && rm -rf %s", dir, dir);
    return system(command);
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    assert_int_equal(rundir_path(dir, name, path), 0);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

/* flock knows the open file, so a second open of the same process is a second daemon. */
static void test_lock(void **state)
{
    int lock, other;
    assert_int_equal(rundir_open(dir, &lock), 0);
    assert_int_equal(mode_of("empty"), 0555);
    assert_int_equal(rundir_open(dir, &other), -EBUSY);
    char text[16] = "";
    assert_true(pread(lock, text, sizeof text - 1, 0) > 0);
    assert_int_equal(atoi(text), getpid());
    rundir_close(dir, lock);
    assert_int_equal(rundir_path(dir, "sallyportd.pid", path), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rundir_open(dir, &lock), 0);
    rundir_close(dir, lock);
}

static void test_not_a_folder(void **state)
{
    int lock;
    assert_int_equal(rundir_path(dir, "file", path), 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    assert_int_equal(rundir_open(path, &lock), -ENOTDIR);
    char deep[200];
    memset(deep, 'x', sizeof deep);
    deep[sizeof deep - 1] = 0;
    char out[RUNDIR_PATH];
    assert_int_equal(rundir_path(deep, "a", out), -ENAMETOOLONG);
}

static void test_socket(void **state)
{
    int fd, again;
    assert_int_equal(rundir_listen(dir, &fd), 0);
    assert_int_equal(mode_of("control.sock") & 077,
                     0); /* nobody else before the groups are known */
    assert_int_equal(rundir_allow(dir, GID_NONE, GID_NONE), 0);
    assert_int_equal(mode_of("control.sock"), 0660);
    assert_int_equal(rundir_listen(dir, &again), 0); /* what a dead daemon left is replaced */
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, path, strlen(path));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(s, (struct sockaddr *)&sa, sizeof sa), 0);
    close(s);
    close(fd);
    close(again);
    assert_int_equal(rundir_gid(""), GID_NONE);
    assert_int_equal(rundir_gid("no such group at all"), GID_NONE);
    assert_int_equal(rundir_gid("root"), 0);
}

static void write_line(int fd, const char *text)
{
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_audit(void **state)
{
    char logs[80], command[256];
    snprintf(logs, sizeof logs, "%s/log", dir);
    write_line(rundir_audit(logs, "log", 0), "one\n");
    write_line(rundir_audit(logs, "log", 0), "two\n");     /* a restart appends */
    write_line(rundir_audit(logs, "jsonl", 0), "other\n"); /* the other form has its own count */
    write_line(rundir_audit(logs, "log", 1), "three\n");
    write_line(rundir_audit(logs, "log", 0), "four\n");
    snprintf(command, sizeof command,
             "cd %s && test \"$(ls | wc -l)\" = 3 && test \"$(cat audit*-2.log | tr '\\n' ,)\" = "
             "three,four,",
             logs);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_a_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(test_audit, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
