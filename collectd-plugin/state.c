/* The state file: reads it, keeps it, and writes it in a thread. */

#include "state.h"

#include <search.h>

#include "ais_time.h"

#include "state_text.h"

#define HEADER "aisearch-state 1\n"

/* Below collectd's BaseDir, which is its working directory by then. */
#define STATE_FILE "aisearch.state"

#define KEPT_FOR (INT64_C(30) * 24 * 3600 * 1000) /* ms */
#define KEPT_MAX 100000                           /* an API may make up names */

/* What is to be told is written no more often than this, but for once in each
 * interval. */
#define SAVE_PAUSE 1000 /* ms */

#define DATE_SIZE 32 /* of "2026-11-23T12:00:00Z" */

typedef enum { BUDGET, FACTS, INSTANCE, NOTICE, TOLD } kind_t;

#define KINDS 5

static const char *const kind_names[KINDS] = {"budget", "facts", "instance",
                                              "notice", "told"};

/* A line that was read. */
typedef struct line_s line_t;
struct line_s {
  kind_t kind;
  char *name;
  char *text; /* NULL: it was taken */
  char date[DATE_SIZE];
  line_t *next;
};

static struct {
  char *path, *temporary;
  void (*written)(void);

  line_t *first;
  void *by_name; /* a tree of the same */
  size_t nlines; /* that were not taken */

  bool is_changed, is_urgent;
  int64_t saved_at; /* of ais_clock() */
  bool is_writing;  /* what was handed to the thread is not known to be over */
  bool has_failed;  /* and that was logged */
  size_t added;
  text_t line; /* of one line, as it is made */
  text_t text; /* the thread's while it is busy */

  pthread_t thread;
  bool has_thread;
  bool busy;             /* lock */
  bool stop;             /* lock */
  struct ais_error fail; /* lock; of the last time; empty: none */
} state;

static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t state_wake = PTHREAD_COND_INITIALIZER;

/* ---- lines --------------------------------------------------------------- */

static int compare_lines(const void *left, const void *right) {
  const line_t *a = left, *b = right;

  return a->kind != b->kind ? (int)a->kind - (int)b->kind
                            : strcmp(a->name, b->name);
}

static void line_free(line_t *line) {
  sfree(line->name);
  sfree(line->text);
  sfree(line);
}

/* The one of that name, or a new one; NULL where memory runs out. */
static line_t *line_get(kind_t kind, const char *name) {
  line_t *line = calloc(1, sizeof(*line));
  line_t **place = NULL;

  if (line != NULL) {
    line->kind = kind;
    line->name = strdup(name);
  }
  if (line != NULL && line->name != NULL)
    place = tsearch(line, &state.by_name, compare_lines);
  if (place == NULL || *place != line) {
    if (line != NULL)
      line_free(line);
    return place != NULL ? *place : NULL;
  }

  line->next = state.first;
  state.first = line;
  return line;
}

/* Returns false where there is one already, or no room. */
static bool line_insert(kind_t kind, const char *name, const char *date,
                        const char *text) {
  line_t *line = line_get(kind, name);

  if (line == NULL || line->text != NULL || (line->text = strdup(text)) == NULL)
    return false;
  sstrncpy(line->date, date, sizeof(line->date));
  state.nlines++;
  return true;
}

static char *line_take(kind_t kind, const char *name) {
  line_t **line = tfind(&(line_t){.kind = kind, .name = (char *)name},
                        &state.by_name, compare_lines);
  char *text = line != NULL ? (*line)->text : NULL;

  if (text == NULL)
    return NULL;
  (*line)->text = NULL;
  state.nlines--;
  return text;
}

/* The release before knows three kinds, and sets a file with any other aside.
 * The others look like budgets to it, which it keeps as they are: their name is
 * KIND!NAME!TEXT. */
static void line_print(kind_t kind, const char *name, const char *date,
                       const char *text) {
  const char *of = kind_names[kind];

  state.added++;
  if (text == NULL)
    state.text.failed = true;
  else if (kind == FACTS || kind == NOTICE)
    text_print(&state.text, "budget %s!%s!%s %s \n", of, name, text, date);
  else
    text_print(&state.text, "%s %s %s %s\n", of, name, date, text);
}

/* ---- reading ------------------------------------------------------------- */

static bool is_valid(kind_t kind, const char *text) {
  instance_t instance = {.name = NULL};
  bool valid = false;

  switch (kind) {
  case BUDGET:
    return budget_parse(NULL, 0, 0, text);
  case FACTS:
    return facts_parse(&instance, text);
  case INSTANCE:
    valid = history_parse(&instance.history, text);
    history_free(&instance.history);
    return valid;
  case NOTICE:
    return notice_parse(&(notice_t){0}, text);
  case TOLD:
    return told_parse(&instance.told, text);
  }
  return false;
}

static char *cut(char **rest, char at) {
  char *word = *rest;
  char *end = word != NULL ? strchr(word, at) : NULL;

  *rest = end != NULL ? end + 1 : NULL;
  if (end != NULL)
    *end = '\0';
  return word;
}

static bool line_read(char *line) {
  char *kind = cut(&line, ' '), *name = cut(&line, ' ');
  char *date = cut(&line, ' '), *text = line;
  int of = 0;
  int64_t when;

  if (text == NULL || name[0] == '\0' || strlen(date) >= DATE_SIZE ||
      !ais_time_parse((struct ais_str){date, strlen(date)}, &when))
    return false;
  if (strcmp(kind, "budget") == 0 && strchr(name, '!') != NULL) {
    kind = cut(&name, '!');
    text = name;
    name = cut(&text, '!');
  }

  while (of < KINDS && strcmp(kind, kind_names[of]) != 0)
    of++;
  return of < KINDS && text != NULL && is_valid((kind_t)of, text) &&
         line_insert((kind_t)of, name, date, text);
}

/* A line that is not understood costs that line. */
static void read_lines(char *text) {
  size_t bad = 0, number = 1, first_bad = 0;
  bool has_end = false;

  for (char *line = cut(&text, '\n'); line != NULL && text != NULL;
       line = cut(&text, '\n')) {
    number++;
    has_end = strncmp(line, "end ", strlen("end ")) == 0;
    if (!has_end && !line_read(line) && bad++ == 0)
      first_bad = number;
  }

  if (bad > 0)
    WARNING("aisearch plugin: StateFile: %zu lines of %s are not understood, "
            "the first of them is line %zu. They are left out.",
            bad, state.path, first_bad);
  else if (!has_end)
    WARNING("aisearch plugin: StateFile: The end of %s is missing.",
            state.path);
}

static char *slurp(int fd, size_t size) {
  char *text = calloc(1, size + 1);

  if (text != NULL && (sread(fd, text, size) != 0 || strlen(text) != size))
    sfree(text);
  return text;
}

/* Under another name first: nobody finds a part of it. */
static int open_temporary(void) {
  return open(state.temporary,
              O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static void set_aside(void) {
  char damaged[PATH_MAX];

  ssnprintf(damaged, sizeof(damaged), "%s.damaged", state.path);
  (void)rename(state.path, damaged);
  WARNING("aisearch plugin: StateFile: %s is none, or is damaged. It is %s "
          "now, and nothing is known.",
          state.path, damaged);
}

/* Returns the errno where the file cannot be used. */
static int read_file(void) {
  int fd = open(state.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat st;
  char *text;

  if (fd == -1 && errno == ENOENT) {
    fd = open_temporary();
    return fd == -1 ? errno : close(fd);
  }
  if (fd == -1)
    return errno;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return EISDIR;
  }

  text = slurp(fd, (size_t)st.st_size);
  close(fd);
  if (text != NULL && strncmp(text, HEADER, strlen(HEADER)) == 0)
    read_lines(text + strlen(HEADER));
  else
    set_aside();
  sfree(text);
  return 0;
}

/* ---- writing, in the thread ---------------------------------------------- */

static void write_file(struct ais_error *err) {
  int fd = open_temporary();
  int status = -1;

  if (fd != -1) {
    status = fchmod(fd, 0600);
    if (status == 0)
      status = (int)swrite(fd, state.text.data, state.text.len);
    if (status == 0)
      status = fsync(fd);
    if (close(fd) != 0)
      status = -1;
    if (status == 0)
      status = rename(state.temporary, state.path);
  }

  if (status != 0) {
    ais_error_set(err, "%s cannot be written: %s", state.path, STRERRNO);
    unlink(state.temporary);
  }
}

static void *write_main(void __attribute__((unused)) * arg) {
  pthread_mutex_lock(&state_lock);
  while (true) {
    struct ais_error err = {.text = ""};

    while (!state.busy && !state.stop)
      pthread_cond_wait(&state_wake, &state_lock);
    if (!state.busy)
      break;

    pthread_mutex_unlock(&state_lock);
    if (state.text.failed)
      ais_error_set(&err, "%s cannot be written: out of memory", state.path);
    else
      write_file(&err);
    pthread_mutex_lock(&state_lock);
    state.fail = err;
    state.busy = false;
    pthread_cond_broadcast(&state_wake);
    state.written();
  }
  pthread_mutex_unlock(&state_lock);
  return NULL;
}

/* ---- what is kept -------------------------------------------------------- */

static void close_file(void) {
  for (line_t *line = state.first, *next; line != NULL; line = next) {
    next = line->next;
    tdelete(line, &state.by_name, compare_lines);
    line_free(line);
  }
  state.first = NULL;
  state.nlines = 0;
  sfree(state.path);
  sfree(state.temporary);
}

/* Returns the errno where the file cannot be used. */
static int open_file(const char *path) {
  int status = ENOMEM;

  state.path = strdup(path);
  state.temporary = ssnprintf_alloc("%s.new", path);
  if (state.path != NULL && state.temporary != NULL)
    status = read_file();
  if (status != 0)
    close_file();
  return status;
}

void state_open(const char *path, void (*written)(void)) {
  int status = path != NULL ? open_file(path) : -1;

  state.written = written;
  if (status > 0)
    ERROR("aisearch plugin: StateFile: %s cannot be used: %s. %s is used.",
          path, STRERROR(status), STATE_FILE);
  if (status != 0)
    status = open_file(STATE_FILE);
  if (status == 0)
    status = plugin_thread_create(&state.thread, write_main, /* arg = */ NULL,
                                  "aisearch-st");
  state.has_thread = status == 0;
  if (status != 0)
    ERROR("aisearch plugin: StateFile: %s: %s. Nothing will be known after a "
          "restart.",
          STATE_FILE, STRERROR(status));
}

static void restore_told(told_t *told, const char *name) {
  char *text = line_take(TOLD, name);

  if (text != NULL)
    told_parse(told, text);
  sfree(text);
}

void state_restore(instance_t *instance) {
  char *history = line_take(INSTANCE, instance->name);
  char *facts = line_take(FACTS, instance->name);
  int64_t now = epoch();

  if (history != NULL) {
    history_free(&instance->history);
    history_parse(&instance->history, history);
    history_bound(&instance->history, now);
    memcpy(instance->written, instance->history.ended,
           sizeof(instance->written));
  }
  if (facts != NULL) {
    facts_parse(instance, facts);
    instance->read_at = ais_earlier(instance->read_at, now);
  }
  restore_told(&instance->told, instance->name);
  sfree(history);
  sfree(facts);
}

static void restore_notices(account_t *account) {
  char name[DATA_MAX_NAME_LEN];
  char *text;
  notice_t notice;

  for (size_t n = 0;; n++) {
    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n);
    text = line_take(NOTICE, name);
    if (text == NULL)
      return;
    if (notice_parse(&notice, text))
      notices_add(&account->notices, &notice);
    account->notices.written = account->notices.n;
    sfree(text);
  }
}

void state_restore_account(account_t *account) {
  char *text = line_take(BUDGET, account->name);

  if (text != NULL)
    budget_parse(&account->payer->budget.parts[BUDGET_ALL], ais_clock(),
                 epoch(), text);
  sfree(text);
  restore_told(&account->conditions.told, account->name);
  restore_notices(account);
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
    if (line->text != NULL && (line->kind == INSTANCE || line->kind == TOLD) &&
        strncmp(line->name, account->name, len) == 0 &&
        line->name[len] == '-' && strlen(line->name) < DATA_MAX_NAME_LEN)
      status = visit(account, line->name);
  return status;
}

void state_end(account_t *account, const char *name) {
  told_t told = {.name = name, .notices = &account->notices};

  restore_told(&told, name);
  conditions_gone(&told);
}

static void print_date(char date[DATE_SIZE], int64_t now) {
  time_t seconds = (time_t)(now / 1000);
  struct tm tm;

  gmtime_r(&seconds, &tm);
  strftime(date, DATE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void state_keep(instance_t *instance) {
  char date[DATE_SIZE];
  const char *text;

  if (state.path == NULL || instance->history.seen_at == AIS_TIME_NONE ||
      state.nlines >= KEPT_MAX)
    return;

  text = history_print(&state.line, &instance->history);
  print_date(date, epoch());
  if (text != NULL)
    line_insert(INSTANCE, instance->name, date, text);
}

void state_touch(bool is_urgent) {
  state.is_changed = true;
  state.is_urgent |= is_urgent;
}

/* ---- saving -------------------------------------------------------------- */

static void add_told(const char *name, const told_t *told, const char *date) {
  const char *text = told_print(&state.line, told);

  if (text == NULL || text[0] != '\0')
    line_print(TOLD, name, date, text);
}

static void add_instance(instance_t *instance, const char *date) {
  if (instance->is_gone && instance->is_over)
    return;

  memcpy(instance->writing, instance->history.ended, sizeof(instance->writing));
  if (instance->history.seen_at != AIS_TIME_NONE)
    line_print(INSTANCE, instance->name, date,
               history_print(&state.line, &instance->history));
  line_print(FACTS, instance->name, date, facts_print(&state.line, instance));
  add_told(instance->name, &instance->told, date);
}

static void add_account(account_t *account, const char *date) {
  char name[DATA_MAX_NAME_LEN];

  pthread_mutex_lock(&account->lock);
  add_told(account->name, &account->conditions.told, date);
  if (account->payer == account)
    line_print(BUDGET, account->name, date,
               budget_print(&state.line, &account->budget.parts[BUDGET_ALL],
                            ais_clock(), epoch()));

  for (size_t n = 0; n < account->notices.n; n++) {
    ssnprintf(name, sizeof(name), "%s.%zu", account->name, n);
    line_print(NOTICE, name, date,
               notice_print(&state.line, &account->notices.all[n]));
  }
  account->notices.writing = account->notices.n;
  account->notices.changed = false;

  for (poll_t *poll = account->first; poll != NULL; poll = poll->next)
    if (poll->leads)
      add_instance(poll->instance, date);
  pthread_mutex_unlock(&account->lock);
}

/* Whether it is to stay. One with a date to come, of a clock that was wrong, is
 * from now. */
static bool is_kept(line_t *line, const char *date, int64_t now) {
  int64_t when = now;

  ais_time_parse(view(line->date), &when);
  if (when > now)
    sstrncpy(line->date, date, sizeof(line->date));
  return line->text != NULL && now - when <= KEPT_FOR;
}

static void add_lines(const char *date, int64_t now) {
  for (line_t **place = &state.first, *line; (line = *place) != NULL;) {
    if (is_kept(line, date, now)) {
      line_print(line->kind, line->name, line->date, line->text);
      place = &line->next;
      continue;
    }
    *place = line->next;
    state.nlines -= line->text != NULL;
    tdelete(line, &state.by_name, compare_lines);
    line_free(line);
  }
}

static void print_all(account_t *accounts) {
  int64_t now = epoch();
  char date[DATE_SIZE];

  print_date(date, now);
  state.added = 0;
  text_begin(&state.text);
  text_print(&state.text, HEADER);
  for (account_t *a = accounts; a != NULL; a = a->next)
    add_account(a, date);
  add_lines(date, now);
  text_print(&state.text, "end %zu\n", state.added);
}

/* What was written may be told; and where it could not be, too: it would be
 * told again after a restart, which is better than never. */
static void hand_over(account_t *accounts, const struct ais_error *err) {
  bool failed = err->text[0] != '\0';

  for (account_t *a = accounts; a != NULL; a = a->next) {
    pthread_mutex_lock(&a->lock);
    a->notices.written = a->notices.writing;
    for (poll_t *poll = a->first; poll != NULL; poll = poll->next)
      if (poll->leads)
        memcpy(poll->instance->written, poll->instance->writing,
               sizeof(poll->instance->written));
    pthread_mutex_unlock(&a->lock);
  }

  state.is_writing = false;
  if (failed && !state.has_failed)
    ERROR("aisearch plugin: StateFile: %s. After a restart, alarms may come "
          "again, and counters begin anew.",
          err->text);
  else if (!failed && state.has_failed)
    INFO("aisearch plugin: StateFile: can be written again.");
  state.has_failed = failed;
}

static void tell_thread(bool *what) {
  pthread_mutex_lock(&state_lock);
  *what = true;
  pthread_cond_broadcast(&state_wake);
  pthread_mutex_unlock(&state_lock);
}

/* Begins to write. Without a thread, nothing is. */
static void begin_save(account_t *accounts) {
  print_all(accounts);
  state.is_changed = state.is_urgent = false;
  state.is_writing = true;
  state.saved_at = ais_clock();
  if (state.has_thread)
    tell_thread(&state.busy);
  else
    hand_over(accounts, &(struct ais_error){.text = ""});
}

static bool is_urgent(account_t *accounts) {
  bool urgent = state.is_urgent;

  for (account_t *a = accounts; a != NULL && !urgent; a = a->next) {
    pthread_mutex_lock(&a->lock);
    urgent = a->notices.changed;
    pthread_mutex_unlock(&a->lock);
  }
  return urgent;
}

/* Whether the thread still writes; what it has written is handed over. */
static bool is_busy(account_t *accounts, bool waits) {
  struct ais_error err;
  bool busy;

  pthread_mutex_lock(&state_lock);
  while (waits && state.busy)
    pthread_cond_wait(&state_wake, &state_lock);
  busy = state.busy;
  err = state.fail;
  pthread_mutex_unlock(&state_lock);
  if (!busy && state.is_writing)
    hand_over(accounts, &err);
  return busy;
}

int64_t state_save(account_t *accounts, bool all) {
  int64_t pause = ais_earlier(
      SAVE_PAUSE, (int64_t)CDTIME_T_TO_MS(plugin_get_interval()) / 4);
  int64_t left = ais_clock_until(state.saved_at + pause);

  if (is_busy(accounts, /* waits = */ false)) {
    state.is_urgent |= all && state.is_changed;
    return -1;
  }

  if (!(all && state.is_changed) && !is_urgent(accounts))
    return -1;
  if (!all && left > 0)
    return left;
  begin_save(accounts);
  return -1;
}

void state_close(account_t *accounts) {
  if (state.has_thread) {
    is_busy(accounts, /* waits = */ true);
    begin_save(accounts);
    is_busy(accounts, /* waits = */ true);
    tell_thread(&state.stop);
    pthread_join(state.thread, /* return = */ NULL);
  }

  close_file();
  sfree(state.line.data);
  sfree(state.text.data);
  memset(&state, 0, sizeof(state));
}
