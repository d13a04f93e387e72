/** Arbitraries of fast-check for tests of one's own. */
export { word } from './arbitraries/word.js';
