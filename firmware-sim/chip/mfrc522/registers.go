package mfrc522

// Registers (MFRC522 data sheet rev. 3.9, table 20), by their six-bit address.
const (
	regCommand    = 0x01
	regComIEn     = 0x02
	regDivIEn     = 0x03
	regComIrq     = 0x04
	regDivIrq     = 0x05
	regError      = 0x06
	regStatus1    = 0x07
	regStatus2    = 0x08
	regFIFOData   = 0x09
	regFIFOLevel  = 0x0a
	regWaterLevel = 0x0b
	regControl    = 0x0c
	regBitFraming = 0x0d
	regColl       = 0x0e
	regMode       = 0x11
	regTxMode     = 0x12
	regRxMode     = 0x13
	regTxControl  = 0x14
	regDemod      = 0x19
	regMfRx       = 0x1d
	regCRCResultH = 0x21
	regCRCResultL = 0x22
	regTMode      = 0x2a
	regTPrescaler = 0x2b
	regTReloadH   = 0x2c
	regTReloadL   = 0x2d
	regTCounterH  = 0x2e
	regTCounterL  = 0x2f
	regVersion    = 0x37
)

// Commands (data sheet, table 149).
const (
	cmdIdle       = 0x0
	cmdMem        = 0x1
	cmdCalcCRC    = 0x3
	cmdTransmit   = 0x4
	cmdNoChange   = 0x7
	cmdReceive    = 0x8
	cmdTransceive = 0xc
	cmdMFAuthent  = 0xe
	cmdSoftReset  = 0xf
)

const (
	bitPowerDown = 0x10 // CommandReg
	bitRcvOff    = 0x20

	irqTimer   = 0x01 // ComIrqReg
	irqErr     = 0x02
	irqLoAlert = 0x04
	irqHiAlert = 0x08
	irqIdle    = 0x10
	irqRx      = 0x20
	irqTx      = 0x40
	irqSet     = 0x80 // also Set2 of DivIrqReg, and IRqInv of ComIEnReg
	irqCRC     = 0x04 // DivIrqReg

	errProtocol = 0x01 // ErrorReg
	errParity   = 0x02
	errCRC      = 0x04
	errColl     = 0x08
	errOverflow = 0x10
	errWrite    = 0x80

	bitCrypto1On    = 0x08 // Status2Reg
	bitFlush        = 0x80 // FIFOLevelReg
	bitTStartNow    = 0x40 // ControlReg
	bitTStopNow     = 0x80
	bitStartSend    = 0x80 // BitFramingReg
	bitValuesAfter  = 0x80 // CollReg
	bitNoPosition   = 0x20
	bitCRCEn        = 0x80 // TxModeReg, RxModeReg
	bitRxNoErr      = 0x08 // RxModeReg
	bitRF           = 0x03 // TxControlReg: Tx2RFEn, Tx1RFEn
	bitPrescaleEven = 0x10 // DemodReg
	bitNoParity     = 0x10 // MfRxReg
	bitTAuto        = 0x80 // TModeReg
	bitTAutoRestart = 0x10
)

// A register that only keeps what is written to it: its value after reset, and
// the bits that a write changes. The others of a plain register are reserved
// and stay.
type register struct{ reset, writable byte }

// plain are the registers without a side effect (data sheet, 9.3). Reading an
// address that is neither here nor handled by read gives 0.
func plain() map[byte]register {
	return map[byte]register{
		regComIEn:     {0x80, 0xff},
		regDivIEn:     {0x00, 0x94},
		regWaterLevel: {0x08, 0x3f},
		regBitFraming: {0x00, 0x77},
		regColl:       {0xa0, 0x80},
		regMode:       {0x3f, 0xab},
		regTxMode:     {0x00, 0xf8},
		regRxMode:     {0x00, 0xfc},
		regTxControl:  {0x80, 0xfb},
		0x15:          {0x00, 0x40}, // TxASKReg
		0x16:          {0x10, 0x3f}, // TxSelReg
		0x17:          {0x84, 0xff}, // RxSelReg
		0x18:          {0x84, 0xf7}, // RxThresholdReg
		regDemod:      {0x4d, 0xff},
		0x1c:          {0x62, 0x03}, // MfTxReg
		regMfRx:       {0x00, bitNoParity},
		0x1f:          {0xeb, 0xff}, // SerialSpeedReg
		regCRCResultH: {0xff, 0x00},
		regCRCResultL: {0xff, 0x00},
		0x24:          {0x26, 0xff}, // ModWidthReg
		0x26:          {0x48, 0x70}, // RFCfgReg
		0x27:          {0x88, 0xff}, // GsNReg
		0x28:          {0x20, 0x3f}, // CWGsPReg
		0x29:          {0x20, 0x3f}, // ModGsPReg
		regTMode:      {0x00, 0xff},
		regTPrescaler: {0x00, 0xff},
		regTReloadH:   {0x00, 0xff},
		regTReloadL:   {0x00, 0xff},
		0x31:          {0x00, 0x07}, // TestSel1Reg
		0x32:          {0x00, 0xff}, // TestSel2Reg
		0x33:          {0x80, 0xfe}, // TestPinEnReg
		0x34:          {0x00, 0xfe}, // TestPinValueReg
		0x36:          {0x40, 0x0f}, // AutoTestReg
		0x38:          {0x00, 0xff}, // AnalogTestReg
		0x39:          {0x00, 0x3f}, // TestDAC1Reg
		0x3a:          {0x00, 0x3f}, // TestDAC2Reg
	}
}
