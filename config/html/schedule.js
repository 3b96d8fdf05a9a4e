// What is asked of the API, when, and how much of it: so many calls at once, so many a minute, and four at a time.

const BURST = 16;             // calls at once, at most
const A_MINUTE = 40;          // and in a minute thereafter; both together are less than 60
const A_MINUTE_OF_STREAM = 15; // what a stream takes by itself: a job that runs is asked for each 4 s
const AT_A_TIME = 4;          // look-ups; and with streams no more than
const CONNECTIONS = 5;        // a browser has six for HTTP/1.1, and one is for the status

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
     * Of tasks, each { due, isBusy, run() }, begins those that are due, the one that is due for the longest first. run()
     * is async, and says whether it cost the API a call.
     */
    begin(tasks, now = Date.now()) {
        this.#fill();
        const due = tasks.filter((task) => !task.isBusy && task.due <= now).sort((a, b) => a.due - b.due);
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
