"""Workbooks as text: what runs in the bounded child process that `pipeline.workbook` starts.

A reader gives the values (python-calamine for xlsx, xlsb and ods; xlrd for xls). calamine knows neither errors, number
formats nor what is hidden, so the workbook's own parts get a second look (`xlsx`, `xlsb`, `ods`), which marks the
cells that are to be read otherwise. `texts` says how any cell becomes text.
"""
