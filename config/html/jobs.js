// Interprets jobs in API answers, by the rules of common/ais_job.c, which nginx and collectd use.

import { parseTime } from './text.js';

/** States, with a shape for each, so that colour is not needed to distinguish them. */
export const SHAPES = { queued: '○', running: '▶', succeeded: '✓', failed: '✕', cancelled: '⊘' };

const SUCCESS = ['', 'completed', 'complete', 'success', 'succeeded', 'finished', 'done', 'ok'];
const STALLED = 900_000; // ms without a sign of life, as collectd's StalledAfter

export function state(job) {
    if (job.ended_at == null)
        return job.started_at == null ? 'queued' : 'running';
    const reason = String(job.end_reason ?? '').toLowerCase();
    if (SUCCESS.includes(reason))
        return 'succeeded';
    return /cancel|superseded|^new_job_has_started$/.test(reason) ? 'cancelled' : 'failed';
}

export const isActive = (job) => job.state === 'queued' || job.state === 'running';

/** A job from the API, with its state and parsed times. */
export function read(job) {
    return { ...job, state: state(job), started: parseTime(job.started_at), ended: parseTime(job.ended_at),
             seen: parseTime(job.last_seen_at) };
}

/** Duration in ms, up to now for a running job; NaN if unknown. */
export const took = (job, now) => (job.state === 'running' ? now : job.ended) - job.started;

/** Whether a running job has shown no activity for too long. */
export const isStalled = (job, now) => job.state === 'running'
    && now - (Number.isNaN(job.seen) ? job.started : job.seen) > STALLED;

const latest = (jobs, key) => jobs.reduce((best, job) => !best || job[key] > best[key] ? job : best, null);

/** Summarizes a list of jobs. The newest is a queued one, or else the one that started last. */
export function summary(list) {
    const jobs = list.map(read);
    const newest = jobs.find((job) => job.state === 'queued') ?? jobs.find((job) => Number.isNaN(job.started))
        ?? latest(jobs, 'started');
    const ended = jobs.filter((job) => !Number.isNaN(job.ended));
    const good = ended.filter((job) => job.state === 'succeeded');
    const times = good.map((job) => took(job)).filter((ms) => ms >= 0).sort((a, b) => a - b);
    return {
        jobs,
        newest: newest ?? null,
        before: latest(ended, 'ended'),            // the one that ended last
        success: latest(good, 'ended')?.ended ?? NaN,
        usual: times.length ? times[times.length >> 1] : NaN,
        queued: jobs.filter((job) => job.state === 'queued').length,
        running: jobs.filter((job) => job.state === 'running').length,
    };
}

/** A rank from 0 (worst) to 9, and the word for its reason. */
export function trouble(row, now) {
    const { list, fault, stale, items, told } = row;
    const newest = list?.newest;
    if (newest?.state === 'failed')
        return [0, 'failed'];
    if (fault)
        return [1, 'unreadable'];
    if (newest && isActive(newest) && list.before?.state === 'failed')
        return [2, 'failed before'];
    if (newest && isStalled(newest, now))
        return [3, 'stalled'];
    if (stale)
        return [4, 'old answer'];
    if (told?.status === 'error')
        return [5, 'instance in error'];
    if (items > 0)
        return [5, 'items in error'];
    if (newest?.state === 'cancelled')
        return [6, 'cancelled'];
    if (told?.paused)
        return [7, 'paused'];
    return newest && isActive(newest) ? [8, newest.state] : [9, ''];
}
