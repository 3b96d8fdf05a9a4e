/* Reads the state file, keeps its contents, and writes it in a thread. */

#include "state.h"

#include <search.h>
#include <stdatomic.h>

#include "ais_time.h"

#include "state_text.h"

#define HEADER "aisearch-state 1\n"

/* Relative to collectd's BaseDir, which is the working directory by then. */
#define STATE_FILE "aisearch.state"

#define KEPT_FOR (INT64_C(30) * 24 * 3600 * 1000) /* ms */
#define KEPT_MAX 100000 /* since the API may invent names */

/* Urgent changes are written no more often than this, plus once in each
 * interval. */
#define SAVE_PAUSE 1000 /* ms */

/* A line that was read, or that is kept for an instance that is gone. */
typedef struct line_s line_t;
struct line_s {
  line_t *next;
  state_kind_t kind;
  bool is_taken; /* not in the tree; freed with the next save */
  int64_t at;    /* when it was written, by the wall clock */
  const char *name;
  char *text;
  char data[]; /* name and text */
};

static struct {
  char path[PATH_MAX]; /* empty: not open */
  char temporary[PATH_MAX + sizeof(".new")];
  void (*written)(void);

  line_t *first;
  void *by_name; /* tsearch() tree of these lines */
  size_t nlines; /* number of lines in the tree */

  bool is_changed, is_urgent;
  int64_t saved_at; /* of ais_clock() */
  bool has_failed;  /* and that was logged */

  FILE *out; /* writes to text */
  size_t added;
  char *text; /* NULL: out of memory */
  size_t len;

  /* A new thread for each save, which owns text until it ends. */
  pthread_t thread;
  bool is_writing;        /* it was not joined yet */
  atomic_bool is_written; /* it is about to end */
  int status;             /* its result: 0 or an errno value */
} state;

/* ---- lines --------------------------------------------------------------- */

static int compare_lines(const void *left, const void *right) {
  const line_t *a = left, *b = right;

  return a->kind != b->kind ? (int)a->kind - (int)b->kind
                            : strcmp(a->name, b->name);
}

/* Returns false if there is such a line already, or if out of memory. */
static bool line_insert(state_kind_t kind, const char *name, int64_t at,
                        const char *text) {
  size_t len = strlen(name) + 1, size = len + strlen(text) + 1;
  line_t *line = malloc(sizeof(*line) + size), **place;

  if (line == NULL)
    return false;
  *line = (line_t){state.first, kind, false, at, line->data, line->data + len};
  memcpy(line->data, name, len);
  memcpy(line->text, text, size - len);

  place = tsearch(line, &state.by_name, compare_lines);
  if (place == NULL || *place != line) {
    free(line);
    return false;
  }
  state.first = line;
  state.nlines++;
  return true;
}

/* Returns the line's text, which is valid until the next save. */
static const char *line_take(line_t *line) {
  tdelete(line, &state.by_name, compare_lines);
  line->is_taken = true;
  state.nlines--;
  return line->text;
}

/* Parses the line of that kind and name into *of. Returns false if there is
 * none. */
static bool restore(state_kind_t kind, const char *name, void *of) {
  line_t **line = tfind(&(line_t){.kind = kind, .name = name}, &state.by_name,
                        compare_lines);

  return line != NULL && state_parse(kind, of, line_take(*line), epoch());
}

/* Writes a line with the given text or, if it is NULL, with the text for *of.
 * The previous release knows three kinds and sets aside a file with any other
 * kind. So the other kinds are disguised as budgets, which it preserves: their
 * name is KIND!NAME!TEXT. */
static void line_print(state_kind_t kind, const char *name, int64_t at,
                       const char *text, void *of) {
  bool is_hidden = kind == STATE_FACTS || kind == STATE_NOTICE;
  char date[RFC3339_SIZE];

  rfc3339(date, sizeof(date), MS_TO_CDTIME_T(at));
  if (is_hidden)
    fprintf(state.out, "budget %s!%s!", state_kind_name(kind), name);
  else
    fprintf(state.out, "%s %s %s ", state_kind_name(kind), name, date);
  if (text != NULL)
    fputs(text, state.out);
  else
    state_print(state.out, kind, of);
  if (is_hidden)
    fprintf(state.out, " %s ", date);
  fputc('\n', state.out);
  state.added++;
}

/* ---- reading ------------------------------------------------------------- */

static bool is_valid(state_kind_t kind, const char *text) {
  instance_t instance = {.name = NULL};
  void *of[STATE_KINDS] = {
      [STATE_BUDGET] = &(state_budget_t){.budget = &(struct ais_budget){0}},
      [STATE_FACTS] = &instance,
      [STATE_INSTANCE] = &instance,
      [STATE_NOTICE] = &(notice_t){0},
      [STATE_REPORTED] = &(reported_t){0},
  };
  bool valid = state_parse(kind, of[kind], text, epoch());

  history_free(&instance.history);
  return valid;
}

/* A date in the future was written by a wrong clock and is replaced by the
 * present. */
static bool line_read(char *line) {
  const char *kind = strsep(&line, " ");
  char *name = strsep(&line, " "), *date = strsep(&line, " "), *text = line;
  int of = 0;
  int64_t at;

  if (text == NULL || name[0] == '\0' || !ais_time_parse(ais_str_of(date), &at))
    return false;
  if (strcmp(kind, "budget") == 0 && strchr(name, '!') != NULL) {
    kind = strsep(&name, "!");
    text = name;
    name = strsep(&text, "!");
  }

  while (of < STATE_KINDS && strcmp(kind, state_kind_name(of)) != 0)
    of++;
  return of < STATE_KINDS && text != NULL && is_valid(of, text) &&
         line_insert(of, name, ais_earlier(at, epoch()), text);
}

/* A line that cannot be parsed is skipped. Returns false if the file is not a
 * state file. */
static bool read_lines(FILE *file) {
  size_t bad = 0, first_bad = 0, size = 0;
  char *line = NULL;
  ssize_t len;
  bool has_end = false;
  bool is_state = getline(&line, &size, file) > 0 && strcmp(line, HEADER) == 0;

  for (size_t n = 2; is_state && (len = getline(&line, &size, file)) > 0 &&
                     line[len - 1] == '\n';
       n++) {
    line[len - 1] = '\0';
    has_end = strncmp(line, "end ", strlen("end ")) == 0;
    if (!has_end && !line_read(line) && bad++ == 0)
      first_bad = n;
  }
  sfree(line);

  if (bad > 0)
    WARNING(
        "aisearch plugin: StateFile: %zu lines of %s are invalid, the first "
        "of them is line %zu. They are ignored.",
        bad, state.path, first_bad);
  else if (is_state && !has_end)
    WARNING("aisearch plugin: StateFile: The end of %s is missing.",
            state.path);
  return is_state;
}

/* The file is written under another name first, so that it is never
 * incomplete. */
static int open_temporary(void) {
  return open(state.temporary,
              O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void set_aside(void) {
  char damaged[PATH_MAX + sizeof(".damaged")];

  ssnprintf(damaged, sizeof(damaged), "%s.damaged", state.path);
  (void)rename(state.path, damaged);
  WARNING("aisearch plugin: StateFile: %s is damaged or is not a state file. "
          "It was renamed to %s, and nothing is restored.",
          state.path, damaged);
}

/* Returns an errno value if the file cannot be used. */
static int open_file(const char *path) {
  struct stat st;
  FILE *file;
  int fd;

  sstrncpy(state.path, path, sizeof(state.path));
  ssnprintf(state.temporary, sizeof(state.temporary), "%s.new", state.path);
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
    return EISDIR;

  file = fopen(path, "re");
  if (file == NULL && errno == ENOENT) {
    fd = open_temporary();
    return fd == -1 ? errno : close(fd);
  }
  if (file == NULL)
    return errno;
  if (!read_lines(file))
    set_aside();
  fclose(file);
  return 0;
}

bool state_path_is_valid(struct ais_str path) {
  char directory[PATH_MAX];
  struct stat st;

  if (path.len == 0 || path.data[path.len - 1] == '/')
    return false;
  sstrncpy(directory, path.data, sizeof(directory));
  if (directory[0] == '/')
    strrchr(directory, '/')[1] = '\0';
  return stat(path.data, &st) == 0
             ? S_ISREG(st.st_mode)
             : path.data[0] != '/' || stat(directory, &st) == 0 ||
                   errno != ENOENT;
}

void state_open(const char *path, void (*written)(void)) {
  int status = open_file(path != NULL ? path : STATE_FILE);

  state.written = written;
  if (status != 0 && path != NULL) {
    ERROR("aisearch plugin: StateFile: %s cannot be used: %s. Correct it; %s "
          "is used instead.",
          path, STRERROR(status), STATE_FILE);
    status = open_file(STATE_FILE);
  }
  if (status != 0)
    ERROR("aisearch plugin: StateFile: %s cannot be used: %s. Nothing is "
          "restored.",
          STATE_FILE, STRERROR(status));
}

/* ---- restoring and keeping ----------------------------------------------- */

void state_restore(instance_t *instance) {
  if (!restore(STATE_INSTANCE, instance->name, instance))
    history_free(&instance->history);
  memcpy(instance->written, instance->history.ended, sizeof(instance->written));
  restore(STATE_FACTS, instance->name, instance);
  restore(STATE_REPORTED, instance->name, &instance->reported);
}

void state_restore_account(account_t *account) {
  char name[DATA_MAX_NAME_LEN];

  restore(STATE_BUDGET, account->name,
          &(state_budget_t){&account->payer->budget.parts[BUDGET_ALL],
                            ais_clock(), epoch()});
  restore(STATE_REPORTED, account->name, &account->conditions.reported);
  for (size_t n = 0;; n++) {
    notice_t notice = {.duration = -1};

    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n);
    if (!restore(STATE_NOTICE, name, &notice))
      break;
    notices_add(&account->notices, &notice);
    account->notices.written = account->notices.n;
  }
  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (poll->leads)
      state_restore(poll->instance);
}

int state_each(account_t *account,
               int (*visit)(account_t *account, const char *name)) {
  size_t len = strlen(account->name);
  int status = 0;

  for (line_t *line = state.first; status == 0 && line != NULL;
       line = line->next)
    if (!line->is_taken &&
        (line->kind == STATE_INSTANCE || line->kind == STATE_REPORTED) &&
        strncmp(line->name, account->name, len) == 0 &&
        line->name[len] == '-' && strlen(line->name) < DATA_MAX_NAME_LEN)
      status = visit(account, line->name);
  return status;
}

void state_end(account_t *account, const char *name) {
  reported_t reported = {.name = name, .notices = &account->notices};

  restore(STATE_REPORTED, name, &reported);
  conditions_gone(&reported);
}

void state_keep(instance_t *instance) {
  char text[4096] = "";
  FILE *out = NULL;

  if (instance->history.seen_at != AIS_TIME_NONE && state.nlines < KEPT_MAX)
    out = fmemopen(text, sizeof(text), "w");
  if (out == NULL)
    return;
  state_print(out, STATE_INSTANCE, instance);
  if (fclose(out) == 0)
    line_insert(STATE_INSTANCE, instance->name, epoch(), text);
}

void state_touch(bool is_urgent) {
  state.is_changed = true;
  state.is_urgent |= is_urgent;
}

/* ---- formatting ---------------------------------------------------------- */

static void print_reported(const char *name, reported_t *reported,
                           int64_t now) {
  if (memchr(reported->has_begun, 1, sizeof(reported->has_begun)) != NULL)
    line_print(STATE_REPORTED, name, now, NULL, reported);
}

static void print_instance(instance_t *instance, int64_t now) {
  memcpy(instance->writing, instance->history.ended, sizeof(instance->writing));
  if (instance->history.seen_at != AIS_TIME_NONE)
    line_print(STATE_INSTANCE, instance->name, now, NULL, instance);
  line_print(STATE_FACTS, instance->name, now, NULL, instance);
  print_reported(instance->name, &instance->reported, now);
}

static void print_account(account_t *account, int64_t now) {
  state_budget_t budget = {&account->budget.parts[BUDGET_ALL], ais_clock(),
                           now};
  char name[DATA_MAX_NAME_LEN];

  pthread_mutex_lock(&account->lock);
  print_reported(account->name, &account->conditions.reported, now);
  if (account->payer == account)
    line_print(STATE_BUDGET, account->name, now, NULL, &budget);

  for (size_t n = 0; n < account->notices.n; n++) {
    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n);
    line_print(STATE_NOTICE, name, now, NULL, &account->notices.all[n]);
  }
  account->notices.writing = account->notices.n;
  account->notices.changed = false;

  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (poll->leads)
      print_instance(poll->instance, now);
  pthread_mutex_unlock(&account->lock);
}

/* Lines that were not taken and are not too old. */
static void print_lines(int64_t now) {
  for (line_t **place = &state.first, *line; (line = *place) != NULL;) {
    if (!line->is_taken && now - line->at > KEPT_FOR)
      line_take(line);
    if (!line->is_taken) {
      line_print(line->kind, line->name, line->at, line->text, NULL);
      place = &line->next;
    } else {
      *place = line->next;
      free(line);
    }
  }
}

static void print_all(account_t *accounts) {
  int64_t now = epoch();

  state.is_changed = state.is_urgent = false;
  state.added = 0;
  state.out = open_memstream(&state.text, &state.len);
  if (state.out == NULL)
    return;

  fputs(HEADER, state.out);
  for (account_t *a = accounts; a != NULL; a = a->next)
    print_account(a, now);
  print_lines(now);
  fprintf(state.out, "end %zu\n", state.added);
  bool failed = ferror(state.out);
  if (fclose(state.out) != 0 || failed)
    sfree(state.text);
}

/* ---- writing ------------------------------------------------------------- */

/* Returns an errno value if the file cannot be written. */
static int write_file(void) {
  int fd = state.text != NULL ? open_temporary() : -1, status;
  bool good;

  if (fd == -1)
    return state.text != NULL ? errno : ENOMEM;

  good = fchmod(fd, 0600) == 0 && swrite(fd, state.text, state.len) == 0 &&
         fsync(fd) == 0;
  good = close(fd) == 0 && good;
  if (good && rename(state.temporary, state.path) == 0)
    return 0;
  status = errno;
  unlink(state.temporary);
  return status;
}

static void *write_main(void __attribute__((unused)) * arg) {
  state.status = write_file();
  atomic_store(&state.is_written, true);
  state.written();
  return NULL;
}

/* What was written may now be reported; also if writing failed, since repeating
 * notifications after a restart is better than never sending them. */
static void hand_over(account_t *accounts, int status) {
  for (account_t *a = accounts; a != NULL; a = a->next) {
    pthread_mutex_lock(&a->lock);
    a->notices.written = a->notices.writing;
    for (poll_t *poll = a->first; poll != NULL; poll = poll->next)
      if (poll->leads)
        memcpy(poll->instance->written, poll->instance->writing,
               sizeof(poll->instance->written));
    pthread_mutex_unlock(&a->lock);
  }

  DEBUG("aisearch plugin: StateFile: %zu bytes: %d", state.len, status);
  sfree(state.text);
  if (status != 0 && !state.has_failed)
    ERROR("aisearch plugin: StateFile: %s cannot be written: %s. After a "
          "restart, notifications may be repeated, and counters may start "
          "from 0.",
          state.path, STRERROR(status));
  else if (status == 0 && state.has_failed)
    INFO("aisearch plugin: StateFile: can be written again.");
  state.has_failed = status != 0;
}

/* Joins the thread. */
static void finish_writing(account_t *accounts) {
  pthread_join(state.thread, /* return = */ NULL);
  state.is_writing = false;
  hand_over(accounts, state.status);
}

int64_t state_save(account_t *accounts, bool all) {
  int64_t pause = ais_earlier(
      SAVE_PAUSE, (int64_t)CDTIME_T_TO_MS(plugin_get_interval()) / 4);
  int64_t left = ais_clock_until(state.saved_at + pause);
  int status;

  state.is_urgent |= all && state.is_changed;
  if (state.is_writing && atomic_load(&state.is_written))
    finish_writing(accounts);
  if (state.path[0] == '\0' || state.is_writing || !state.is_urgent)
    return AIS_NEVER;
  if (!all && left > 0)
    return left;

  print_all(accounts);
  state.saved_at = ais_clock();
  state.is_written = false;
  status = plugin_thread_create(&state.thread, write_main, /* arg = */ NULL,
                                "aisearch-st");
  state.is_writing = status == 0;
  if (status != 0)
    hand_over(accounts, status);
  return AIS_NEVER;
}

void state_close(account_t *accounts) {
  if (state.is_writing)
    finish_writing(accounts);
  if (state.path[0] != '\0') {
    print_all(accounts);
    hand_over(accounts, write_file());
  }

  for (line_t *line; (line = state.first) != NULL;) {
    state.first = line->next;
    if (!line->is_taken)
      line_take(line);
    free(line);
  }
  memset(&state, 0, sizeof(state));
}
