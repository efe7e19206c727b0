class Result:
    text: str

def read_barcodes(image: memoryview) -> list[Result]: ...
