// Schedules calls of the API: a limit per burst, per minute, and of lookups in progress.

const BURST = 16;              // calls at once, at most
const A_MINUTE = 44;           // and in each minute; both together are no more than 60
const A_MINUTE_OF_STREAM = 17; // at most, by a stream alone: a running job is refreshed every 4 s
const AT_A_TIME = 4;           // lookups; and together with streams no more than
const CONNECTIONS = 5;         // a browser has six for HTTP/1.1, and one is for the status

export class Schedule {
    #calls = BURST;
    #filled = performance.now();
    #running = 0;
    streams = 0;

    /** For a call that is made without a task. */
    charge() {
        this.#calls--;
    }

    /**
     * Begins those of the tasks that are due, the most urgent first: the one that has been due for the longest, where
     * a task of weight 8 counts as due for eight times as long. A task is { due, weight, isBusy, run() }; run() is async
     * and returns whether it cost the API a call.
     */
    begin(tasks, now = Date.now()) {
        this.#fill();
        const urgency = ({ due, weight = 1 }) => (now - due) * weight;
        const due = tasks.filter((task) => !task.isBusy && task.due <= now).sort((a, b) => urgency(b) - urgency(a));
        for (const task of due) {
            if (this.#running >= Math.min(AT_A_TIME, CONNECTIONS - this.streams) || this.#calls < 1)
                return;
            this.#run(task);
        }
    }

    async #run(task) {
        task.isBusy = true;
        this.#running++;
        this.#calls--;
        try {
            if (await task.run() === false)
                this.#calls++;
        } finally {
            this.#running--;
            task.isBusy = false;
        }
    }

    #fill() {
        const now = performance.now();
        const rate = (A_MINUTE - this.streams * A_MINUTE_OF_STREAM) / 60_000;
        this.#calls = Math.min(BURST, this.#calls + (now - this.#filled) * rate);
        this.#filled = now;
    }
}
