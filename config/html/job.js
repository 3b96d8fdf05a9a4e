// One job and its log, followed by two event streams while the job is active.

import { get, Lost } from './api.js';
import { SHAPES, isActive, isStalled, read, took } from './jobs.js';
import { duration, facts, local, make, number, time } from './text.js';

const LONGEST_DELAY = 60_000; // ms between tries where there is no stream

/** Requests a URL, then follows it by events, or by polling where there are no events. */
class Follower {
    #source = null;
    #timer = 0;
    #delay = 2000;
    #isOn = true;

    constructor(url, schedule, { onBody, onFault, isOver }) {
        Object.assign(this, { url, schedule, onBody, onFault, isOver });
        this.#ask();
    }

    stop() {
        this.#isOn = false;
        clearTimeout(this.#timer);
        this.#close();
    }

    #close() {
        if (this.#source)
            this.schedule.streams--;
        this.#source?.close();
        this.#source = null;
    }

    async #ask() {
        this.schedule.charge();
        const answer = await get(this.url).catch((error) => {
            if (!(error instanceof Lost))
                throw error;
            return { fault: 'nginx does not respond' };
        });
        if (!this.#isOn)
            return;
        if (answer.ok)
            this.onBody(answer.body);
        else
            this.onFault(answer.fault);
        if (!answer.ok)
            this.#later();
        else if (this.#isOn && !this.isOver())
            this.#listen();
    }

    #later() {
        this.#timer = setTimeout(() => this.#ask(), this.#delay);
        this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY);
    }

    #listen() {
        const source = new EventSource(this.url);
        this.#source = source;
        this.schedule.streams++;
        const onBody = ({ data }) => {
            this.#delay = 2000;
            this.onBody(JSON.parse(data));
        };
        for (const type of ['message', 'recovered'])
            source.addEventListener(type, onBody);
        source.addEventListener('fault', ({ data }) => this.onFault(JSON.parse(data).errors[0].message));
        source.addEventListener('end', (event) => {
            this.#close();
            if (JSON.parse(event.data).success)
                onBody(event);
        });
        source.addEventListener('error', () => {
            if (source.readyState === EventSource.CONNECTING) {
                this.onFault('reconnecting');
            } else if (source === this.#source) { // no streams here, or not now
                this.#close();
                this.#later();
            }
        });
    }
}

export class JobView {
    #followers = [];
    #row = null;
    #job = null;
    #fault = '';
    #lines = 0;

    constructor(dialog, schedule) {
        this.dialog = dialog;
        this.schedule = schedule;
        for (const name of ['title', 'choice', 'live', 'facts', 'close'])
            this[name] = dialog.querySelector(`#job-${name}`);
        this.log = dialog.querySelector('#log');
        this.info = dialog.querySelector('#log-info');
        this.close.addEventListener('click', () => dialog.close());
        dialog.addEventListener('close', () => this.#leave());
        this.choice.addEventListener('change', () => {
            const job = this.#row.list.jobs.find(({ id }) => id === this.choice.value);
            this.open(this.#row, job);
        });
    }

    open(row, job) {
        this.pause();
        this.#row = row;
        this.#job = job;
        this.title.textContent = `${row.account}: ${row.name}`;
        this.#choose(row.list.jobs);
        this.log.replaceChildren();
        this.#lines = 0;
        this.info.textContent = 'Loading the log...';
        this.#show();
        if (!this.dialog.open)
            this.dialog.showModal();
        this.resume();
    }

    /** While the page is hidden. */
    pause() {
        this.#followers.forEach((follower) => follower.stop());
        this.#followers = [];
        this.#fault = '';
    }

    resume() {
        if (!this.#job || this.#followers.length)
            return;
        const url = `${this.#row.url}/jobs/${encodeURIComponent(this.#job.id)}`;
        const isOver = () => !isActive(this.#job);
        this.#followers = [
            new Follower(url, this.schedule, { isOver, onBody: (body) => this.#onJob(body), onFault: (text) => this.#onFault(text) }),
            this.#followLog(`${url}/logs?per_page=500`, isOver),
        ];
    }

    /** Each second. */
    tick() {
        if (this.#job && isActive(this.#job))
            this.#show();
    }

    #followLog(url, isOver) {
        return new Follower(url, this.schedule, {
            isOver, onBody: (body) => this.#onLog(body), onFault: (text) => this.info.textContent = `The log: ${text}` });
    }

    #leave() {
        this.pause();
        this.#job = null;
    }

    #choose(jobs) {
        const newest = [...jobs].sort((a, b) => (b.started || Infinity) - (a.started || Infinity) || 0);
        this.choice.replaceChildren(...newest.map((job) => make('option', { value: job.id, selected: job.id === this.#job.id },
            `${SHAPES[job.state]} ${job.state}${Number.isNaN(job.started) ? '' : ', ' + local(job.started)}`)));
    }

    #onJob(body) {
        const wasActive = isActive(this.#job);
        this.#fault = '';
        this.#job = read(body.result);
        this.#show();
        if (wasActive && !isActive(this.#job) && this.#followers.length) { // the last lines come with the end
            const [, log] = this.#followers;
            log.stop();
            this.#followers[1] = this.#followLog(log.url, () => true);
        }
    }

    #onFault(text) {
        this.#fault = text;
        this.#show();
    }

    #onLog(body) {
        const lines = body.result ?? [];
        const total = body.result_info?.total_count;
        const isAtEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 4;
        if (lines.length < this.#lines) {
            this.log.replaceChildren();
            this.#lines = 0;
        }
        this.log.append(...lines.slice(this.#lines).map(({ created_at, message }) =>
            make('li', {}, created_at ? time(created_at * 1000) : '', ' ', String(message))));
        this.#lines = lines.length;
        this.info.textContent = lines.length ? `${number(lines.length)} lines${total > lines.length ? ` of ${number(total)}` : ''}`
            : 'No lines.';
        if (isAtEnd)
            this.log.scrollTop = this.log.scrollHeight;
    }

    #live() {
        if (this.#fault)
            return `No update: ${this.#fault}. The data shown may be old.`;
        return isActive(this.#job) ? 'Live: changes appear as they happen.' : 'The job has ended.';
    }

    #show() {
        const job = this.#job;
        const now = Date.now();
        const live = this.#live();
        if (this.live.textContent !== live)
            this.live.textContent = live;
        this.facts.replaceChildren(...facts([
            ['State', `${SHAPES[job.state]} ${job.state}${isStalled(job, now) ? ', stalled' : ''}`],
            ['Reason', job.end_reason ?? ''],
            ['Source', job.source ?? ''],
            ['Description', job.description ?? ''],
            ['Started', time(job.started)],
            ['Ended', time(job.ended)],
            [job.state === 'running' ? 'Running for' : 'Took', took(job, now) >= 0 ? duration(took(job, now)) : '–'],
            ['Last seen', time(job.seen)],
            ['ID', make('code', {}, job.id)],
        ]));
    }
}
