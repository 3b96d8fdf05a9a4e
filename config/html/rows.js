// A row for each instance: what it shows, and the requests that it needs.

import { get, Lost } from './api.js';
import { SHAPES, isActive, summary, took, trouble } from './jobs.js';
import { timeline } from './draw.js';
import { duration, make, number, time } from './text.js';

const STATS_EACH = 300_000; // ms
const AFTER_FAULT = 15_000;
const OLD = 60_000;         // age in ms from which it is shown
const ACTIVE = 8;           // weight of a list with an active job: it will change soon

export class Row {
    list = null;      // of jobs: summary()
    fault = '';       // why there is no answer
    stale = false;    // the answer is an old one, since there is no other
    answered = NaN;   // when the API did
    items = null;     // in error
    told = null;      // of a list of instances
    isInView = false;
    #again = 0;
    #drawn = '';

    constructor(account, location, namespace, name, open, signal) {
        this.account = account;
        this.name = namespace && namespace !== 'default' ? `${namespace}/${name}` : name;
        const path = namespace && namespace !== 'default' ? `namespaces/${namespace}/instances/${name}` : `instances/${name}`;
        this.url = location + path;
        this.signal = signal;
        this.open = (job) => open(this, job);
        this.tasks = [{ due: 0, run: () => this.#askForJobs() }, { due: Infinity, run: () => this.#askForStats() }];
        this.#create();
    }

    #create() {
        this.shape = make('span', { className: 'shape' }, '·');
        this.shape.setAttribute('aria-hidden', 'true');
        this.word = make('span', { className: 'word' }, 'not requested yet');
        this.button = make('button', { type: 'button', className: 'name' }, this.shape, ' ', this.name);
        this.button.setAttribute('aria-disabled', 'true');
        this.button.addEventListener('click', () => this.list?.newest && this.open(this.list.newest));
        this.reason = make('span', { className: 'reason' });
        this.note = make('span', { className: 'note' });
        this.element = make('li', { className: 'row' }, make('div', {}, this.button),
            make('div', { className: 'state' }, this.word, ' ', this.reason, this.note));
        this.element.row = this;
    }

    async #askForJobs() {
        const [jobs, stats] = this.tasks;
        const answer = await this.#get(`${this.url}/jobs?per_page=50`, jobs);
        if (!answer)
            return false;
        const before = this.list?.newest;
        this.fault = answer.fault ? `${answer.status < 500 ? 'error' : 'the API fails'}: ${answer.fault}` : '';
        if (answer.ok) {
            this.stale = answer.isOld;
            this.answered = answer.answered;
            if (!answer.isSame || !this.list)
                this.list = summary(Array.isArray(answer.body.result) ? answer.body.result : []);
            const { newest } = this.list;
            jobs.weight = newest && isActive(newest) ? ACTIVE : 1;
            if (stats.due === Infinity || before?.id === newest?.id && before?.state !== newest?.state && !isActive(newest))
                stats.due = Date.now() + 1000;
        }
        this.show();
        return !answer.isFree;
    }

    async #askForStats() {
        const [, stats] = this.tasks;
        const answer = await this.#get(`${this.url}/stats`, stats);
        if (!answer)
            return false;
        stats.due = Date.now() + STATS_EACH;
        if (answer.ok && typeof answer.body.result?.error === 'number')
            this.items = answer.body.result.error;
        this.show();
        return !answer.isFree;
    }

    /** Sets when the task is due again: as soon as the answer is no longer fresh. */
    async #get(url, task) {
        try {
            const answer = await get(url, this.signal());
            this.#again = answer.cache === 'UPDATING' ? Math.min(5000, Math.max(700, 2 * this.#again)) : 0;
            task.due = Date.now() + (this.#again || (answer.ok && !answer.isOld ? Math.max(1000, answer.fresh) + 100
                : Math.max(AFTER_FAULT, answer.retry)));
            return answer;
        } catch (error) {
            if (!(error instanceof Lost))
                throw error;
            task.due = Date.now() + 1000;
            return null;
        }
    }

    /** The text that the filter searches. */
    get text() {
        return `${this.account}/${this.name} ${this.word.textContent} ${this.reason.textContent}`.toLowerCase();
    }

    get isAskedFor() {
        return this.list !== null || this.fault !== '';
    }

    /** The rank that it is sorted by; see trouble(). */
    rank(now = Date.now()) {
        return trouble(this, now)[0];
    }

    show(now = Date.now()) {
        const newest = this.list?.newest;
        const state = newest?.state ?? '';
        const [, why] = trouble(this, now);
        this.element.className = `row ${state}${this.stale || this.fault ? ' old' : ''}`;
        this.shape.textContent = SHAPES[state] ?? (this.fault ? '!' : '·');
        this.shape.className = `shape ${state}`;
        this.button.setAttribute('aria-disabled', String(!newest));
        this.word.textContent = [state || (this.list ? 'no jobs' : this.fault ? '' : this.#unasked()), ...this.#others(),
                                 why === state ? '' : why].filter(Boolean).join(', ');
        this.reason.textContent = newest?.end_reason ?? '';
        this.note.textContent = this.#note(now);
        if (this.list)
            this.#draw(now);
    }

    /** Jobs that are active besides the newest. */
    #others() {
        const { newest, running, queued } = this.list ?? {};
        const told = [];
        if (newest && running > (newest.state === 'running'))
            told.push(`${number(running)} running`);
        if (newest && queued > (newest.state === 'queued'))
            told.push(`${number(queued)} queued`);
        return told;
    }

    #unasked() {
        return this.told?.status === 'error' || this.told?.paused ? '' : 'not requested yet';
    }

    #note(now) {
        const age = now - this.answered;
        const from = Number.isNaN(age) ? '' : `answer of ${duration(age)} ago`;
        if (this.fault)
            return [this.fault, from].filter(Boolean).join('; ');
        return this.stale ? `old ${from}` : age > OLD ? from : '';
    }

    /** Draws the rest of the row, if it may have changed. */
    #draw(now) {
        const { newest, success, usual, jobs } = this.list;
        const isRunning = newest?.state === 'running';
        const key = [Math.floor(now / (isRunning ? 5000 : 60_000)), this.answered, this.items].join();
        if (key === this.#drawn)
            return;
        this.#drawn = key;
        const ms = newest ? took(newest, now) : NaN;
        const lasted = Number.isNaN(ms) ? '–' : duration(ms);
        const pairs = [
            ['Took (usual)', Number.isNaN(usual) ? lasted : `${lasted} (${duration(usual)})`],
            ['Last success', Number.isNaN(success) ? '–' : time(success)],
            ['In error', this.items === null ? '–' : `${number(this.items)} ${this.items === 1 ? 'item' : 'items'}`],
        ];
        const list = make('dl', {}, ...pairs.map(([name, value]) =>
            make('div', {}, make('dt', {}, name), make('dd', {}, value))));
        const line = make('div', { className: 'timeline' }, timeline(jobs, this.open, now));
        if (this.element.children.length > 2) {
            this.element.children[2].replaceWith(list);
            this.element.children[3].replaceWith(line);
        } else {
            this.element.append(list, line);
        }
    }
}
