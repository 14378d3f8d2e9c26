"""DICOM series made of arrays, as a scanner writes them, for tests to read or to spoil."""

import itertools

import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CT, CAPTURE, ENHANCED = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.2.1"
MARK = "DOE^JANE"  # nobody's name, to be looked for where it must not be


def uid(*words):
    """Return a UID that is the same for the same words."""
    import pydicom

    return pydicom.uid.generate_uid(entropy_srcs=[str(word) for word in words])


def write(folder, array, affine, description, *, kind=("ORIGINAL", "PRIMARY", "AXIAL"), slope=1.0, intercept=0.0,
          step=1.0, change=None, study="study"):  # fmt: skip
    """Write one file for each slice and frame of an (x, y, slice[, frame]) array, and return their paths in order.

    Parameters
    ----------
    affine : (4, 4), voxel to mm (RAS)
    slope, intercept : how values are stored, as int16
    step : s between frames
    change : function of (dataset, slice, frame) that may alter each, or return False to leave it out
    """
    import pydicom

    folder.mkdir(parents=True, exist_ok=True)
    lps, frames = LPS @ affine, array if array.ndim == 4 else array[..., None]
    spacing, written = np.linalg.norm(lps[:3, :3], axis=0), []
    for k, t in itertools.product(range(frames.shape[2]), range(frames.shape[3])):
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = CT
        dataset.SOPInstanceUID = uid(study, description, k, t)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(study), uid(study, description)
        dataset.FrameOfReferenceUID = uid(study, "frame")
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = MARK, "4711", "", "O"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20180304", "101112", "1"
        dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
        dataset.Manufacturer, dataset.Modality, dataset.ImageType = "nobody", "CT", [*kind]
        dataset.SeriesDescription, dataset.SeriesNumber = description, 1 + len(description)
        dataset.AcquisitionNumber, dataset.InstanceNumber = t + 1, 1 + k + t * frames.shape[2]
        dataset.AcquisitionDate = dataset.ContentDate = dataset.SeriesDate = "20180304"
        dataset.AcquisitionTime = dataset.ContentTime = clock(36000 + t * step)
        dataset.SeriesTime, dataset.KVP, dataset.PatientPosition = "100000", 80, "HFS"
        dataset.ImageOrientationPatient = [float(f"{v:.8f}") for v in (lps[:3, :2] / spacing[:2]).T.ravel()]
        dataset.ImagePositionPatient = [float(f"{v:.6f}") for v in lps[:3, 3] + k * lps[:3, 2]]
        dataset.PixelSpacing = [float(f"{v:.8f}") for v in (spacing[1], spacing[0])]
        dataset.SliceThickness = dataset.SpacingBetweenSlices = float(f"{spacing[2]:.8f}")
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.Columns, dataset.Rows = frames.shape[:2]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        stored = np.rint((frames[:, :, k, t].astype(float) - intercept) / slope)
        dataset.PixelData = stored.T.astype("<i2").tobytes()
        if change is not None and change(dataset, k, t) is False:
            continue
        path = folder / f"{(k * 7919 + t * 104729) % 99991:05d}_{k}_{t}"  # in no order that tells anything
        dataset.save_as(path, enforce_file_format=True)
        written.append(path)
    return written


def clock(seconds):
    """Write a time of day as DICOM does."""
    seconds = seconds % 86400
    return f"{int(seconds // 3600):02d}{int(seconds % 3600 // 60):02d}{seconds % 60:09.6f}"


def in_color(dataset, k, t):
    """Make a picture in color of an image, as programs export maps for a report."""
    gray = np.frombuffer(dataset.PixelData, "<i2").clip(0, 255).astype(np.uint8)
    dataset.SOPClassUID, dataset.ImageType = CAPTURE, ["DERIVED", "SECONDARY"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = np.repeat(gray, 3).tobytes()
    del dataset.RescaleSlope, dataset.RescaleIntercept
