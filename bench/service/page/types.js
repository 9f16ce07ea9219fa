// What the service answers, as docs/serving.md describes it. Types alone: no other module runs anything of this one.

/**
 * @typedef {object} Variant
 * @property {string} name
 * @property {string} id
 * @property {string} digest
 * @property {string} runtime
 * @property {string} device
 * @property {number} size_mib
 * @property {number} threshold
 * @property {string} verdict what it was shipped with
 * @property {number | null} auc
 * @property {boolean} heatmap whether it has a map
 * @property {Ensemble | null} ensemble null for a single network
 */
/** @typedef {{name: string, weight: number | null, variant: string}} Member weight: of 1, null without weights */
/**
 * @typedef {object} Ensemble
 * @property {"mean" | "logits" | "vote" | "max"} combine
 * @property {number} minimum how many members must answer
 * @property {Member[]} members
 * @property {Record<string, string>} failed members that have no part, with the reason
 */
/**
 * @typedef {object} Limits
 * @property {number} upload_mib
 * @property {number} megapixels
 * @property {number} batch_images
 * @property {number} video_mib
 * @property {number} video_seconds
 * @property {number} video_frames
 */
/**
 * @typedef {object} Info
 * @property {string} experiment
 * @property {string} version
 * @property {string} default_variant
 * @property {Variant[]} variants
 * @property {string} faces
 * @property {Limits} limits
 * @property {boolean} keys_required
 */
/** @typedef {"FAKE" | "REAL"} Call */
/** @typedef {{fake_prob: number, real_prob: number, prediction: Call, weight: number | null}} Vote */
/** @typedef {[number, number, number, number]} Box left, top, right, bottom in pixels of the upload */
/**
 * @typedef {object} Judgement
 * @property {Call} prediction
 * @property {number} confidence P of the called class
 * @property {number} fake_probability
 * @property {number} threshold
 * @property {string} variant
 * @property {string} shipped_with
 * @property {{id: string, digest: string, runtime: string}} artifact
 */
/**
 * @typedef {object} PictureParts
 * @property {string} filename
 * @property {number} real_probability
 * @property {number} processing_time in seconds
 * @property {number | null} face_detection_confidence
 * @property {string | null} gradcam
 * @property {Record<string, Vote>} model_predictions
 * @property {Record<string, string>} models_failed
 * @property {string} device
 * @property {number | null} faces null where none was looked for
 * @property {Box | null} face_box
 * @property {string} judged "face" or "whole picture"
 * @property {string | null} crop base64 JPEG
 * @property {string | null} heatmap base64 PNG with opacity
 * @property {Record<string, string> | null} members_heatmaps
 * @property {{agree: number, of: number}} consensus
 * @property {boolean} cached
 */
/** @typedef {Judgement & PictureParts} PictureAnswer */
/** @typedef {{filename: string, error: string}} Refusal */
/** @typedef {{results: (PictureAnswer | Refusal)[]}} BatchAnswer */
/**
 * @typedef {object} FrameAnswer
 * @property {number} frame index in the video
 * @property {number | null} seconds null where the video has no times
 * @property {Call} prediction
 * @property {number} confidence
 * @property {number} fake_probability
 * @property {number | null} face_detection_confidence
 */
/**
 * @typedef {object} VideoAnswer
 * @property {string} filename
 * @property {FrameAnswer[]} frame_results
 * @property {{prediction: Call, confidence: number, fake_probability: number, fake_frame_ratio: number,
 *   model_predictions: Record<string, Vote>, consensus: {agree: number, of: number}}} overall_result
 * @property {{total_frames: number, frames_processed: number, frames_without_face: number, processing_time: number,
 *   processing_fps: number}} processing_info
 * @property {number} threshold
 * @property {string} variant
 * @property {string} shipped_with
 * @property {{id: string, digest: string, runtime: string}} artifact
 */
/**
 * @typedef {object} Job
 * @property {string} job
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {number} done
 * @property {number} total
 * @property {string | null} detail
 * @property {VideoAnswer | null} result
 */
/**
 * @typedef {object} WebcamAnswer
 * @property {Call} prediction
 * @property {number} confidence
 * @property {number} fake_probability
 * @property {number} processing_time
 * @property {number} threshold
 * @property {Box | null} face_box
 */
/** @typedef {"auto" | "always" | "never"} Faces */
/** @typedef {{variants: string[], faces: string, heatmap: boolean, frames: number}} Choice what is asked for */

export {};
